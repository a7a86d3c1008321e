package replica

import (
	"github.com/cockroachdb/pebble/v2"
)

// Machine is what a group's commands are for.
type Machine interface {
	// Apply adds to the batch what the command changes and returns what its proposer is told. The batch is an indexed
	// one: reading through it shows the database with all that earlier commands did, and the command's own changes.
	//
	// It must be a function of the rows of the group and the command alone: every replica calls it, at its own time. It
	// may write rows of the group only. It must not keep the batch or the command. An error means that the data are
	// damaged: the replica stops.
	Apply(batch *pebble.Batch, group uint64, index uint64, command []byte) (result []byte, err error)
}

// Ranged is a Machine that must know which rows the group has when a command is applied: those from start up to end. It is called
// instead of Apply.
type Ranged interface {
	ApplyWithin(batch *pebble.Batch, group, index uint64, start, end, command []byte) (result []byte, err error)
}

// Restorer is a Machine that keeps something of the rows in memory.
type Restorer interface {
	// Restored is called when the rows and the metadata of a group have been replaced by those of a snapshot, before anything
	// more is applied to them. An error means that they are damaged: the replica stops.
	Restored(group uint64) error
}
