package replica

import "go.etcd.io/raft/v3/raftpb"

// bugs are mistakes that the tests make this package commit, one at a time, to see whether they would notice. Nothing
// outside the tests can set them.
type bugs uint64

const (
	bugSkipSync            bugs = 1 << iota // says that a write is on disk when it is not
	bugAnswerBeforeSync                     // acknowledges entries and votes before they are on disk
	bugForgetVote                           // does not write down whom it voted for
	bugForgetApplied                        // does not write down how far it applied
	bugApplyTwice                           // applies some entries twice
	bugForgetToken                          // does not look whether a token was seen
	bugIgnoreGeneration                     // applies commands that were routed before a split
	bugReadAnywhere                         // answers consistent reads from whatever is here
	bugReadAtLeader                         // ... if it believes that it leads
	bugReadUnapplied                        // does not wait until the index of a read is applied
	bugJoinRound                            // lets reads join a round that began before them
	bugLeaseForever                         // does not look whether its lease is over
	bugLeaseAfterTransfer                   // trusts its lease after it told another to take over
	bugVoteAfterRestart                     // votes as soon as it is back
	bugSnapshotTooNew                       // says that a snapshot has an entry more than it has
	bugSnapshotLosesRow                     // loses rows of the last chunk
	bugCutUnapplied                         // cuts off entries that are not applied
	bugDropTail                             // loses the last of several entries that it appends
	bugSplitForgetsVote                     // a split forgets what the waiting replica promised
	bugSnapshotsOverlap                     // takes a snapshot whose rows another one brings as well
	bugResurrect                            // lets a destroyed replica vote again
	bugMergeLosesTail                       // a merge forgets what the right group had yet to apply
	bugSplitLosesTokens                     // a split leaves all tokens with the left group
	bugForwardTwice                         // takes a forwarded proposal as often as the network brings it
	bugSnapshotLosesTokens                  // a snapshot comes without tokens
	bugLeaveAtOnce                          // a replica that was removed goes before the others know
	bugForgetFreeze                         // a frozen group takes commands, and those routed before count as routed after: each alone is caught by the other
	bugReadEarly                            // a leader without followers answers reads before it has committed anything in its term
	bugStaleTokens                          // goes on to look for tokens among those that it had before a merge or a snapshot brought others
)

func (b bugs) has(one bugs) bool { return b&one != 0 }

func (c *core) plantInEntries(entries []*raftpb.Entry) []*raftpb.Entry {
	if c.planted.has(bugDropTail) && len(entries) > 1 {
		last := entries[len(entries)-1]
		lost := &raftpb.Entry{Type: last.Type, Term: last.Term, Index: last.Index}
		return append(entries[:len(entries)-1:len(entries)-1], lost)
	}
	return entries
}
