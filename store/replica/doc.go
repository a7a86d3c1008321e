// Package replica runs a node's replicas of many Raft groups on one database and one log: it orders commands, applies
// them to the rows that a group owns, answers reads that are as fresh as was asked for, and changes groups while they
// serve: where their replicas are, who leads, and which rows they own.
//
// It promises: a command that was acknowledged is applied on every replica, once, in one order, and is not lost as long
// as a majority of the group's disks keeps what was synced; a consistent read shows everything that was acknowledged
// before it was asked for; an error other than ErrUnknownOutcome means that nothing happened; a replica whose data are
// damaged stops and says so; what does not fit a bounded queue is refused early, with ErrOverloaded.
//
// The heart is core, a step function: events and an instant in, effects out. It persists before it sends what depends
// on that, and writes how far it applied together with what that changed. Host puts it into the world: one goroutine
// steps, one waits for the disk, both are Run's. The tests put the same core into a simulated world. DESIGN.md says why
// things are as they are.
//
// It never looks into commands and rows; that is the Machine's part.
package replica
