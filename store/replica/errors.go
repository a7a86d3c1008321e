package replica

import (
	"errors"
	"fmt"
)

// What a proposal, a read or a change can fail with. All but ErrUnknownOutcome mean that nothing was changed and
// nothing will be.
var (
	// ErrOverloaded: a queue is full; try again later.
	ErrOverloaded = errors.New("overloaded")
	// ErrNotHere: this node has no replica that owns the key.
	ErrNotHere = errors.New("no replica of that key on this node")
	// ErrUnavailable: no leader with a majority was found in time.
	ErrUnavailable = errors.New("no leader with a majority")
	// ErrUnknownOutcome: the command was proposed, and nothing was heard of it in time. It may have been carried out,
	// or may still be.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrFailed: the replica here is damaged and has stopped.
	ErrFailed = errors.New("replica has failed")
	// ErrStopped: the node is stopping, or has lost its disk.
	ErrStopped = errors.New("node is stopped")
	// ErrTooLarge: the command is larger than the limit.
	ErrTooLarge = errors.New("command is too large")
	// ErrRefused: a change of the group does not fit its state: it was changed in the meantime, or may not be changed so.
	ErrRefused = errors.New("change refused")
	// ErrUnsupported: not built.
	ErrUnsupported = errors.New("not supported")
)

// NotLeaderError says that only the leader of the group can do it.
type NotLeaderError struct {
	Group  uint64
	Leader uint64 // node, 0 if unknown
}

func (e *NotLeaderError) Error() string {
	return fmt.Sprintf("node is not the leader of group %d, node %d is", e.Group, e.Leader)
}
