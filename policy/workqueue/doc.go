// Package workqueue decides what becomes of the messages of a work queue: which is delivered next, when a delivery counts
// as failed, how long a message then waits, when it is dead, which message is refused or a duplicate.
//
// It is a pure core. Each method takes the present instant, decides, changes the queue and returns what happened as
// Events; a queue to which the same events are Applied in the same order is in the same state. So whoever keeps the events
// keeps the queue, and a simulator that calls the same methods on its own clock gets the same decisions. Bodies of messages
// are not its business: it knows their size.
//
// It promises: a message that was put leaves the queue by an acknowledgement, by its own end of life, by death, or by being
// moved by a person, and by nothing else; it is never delivered more than MaxDeliver times; a delivery that is over can't
// settle the message any more; with Ordered, at most one message of a key is in flight, and the next one comes only when
// it was settled. It never reads a clock, starts no goroutine and takes randomness as a function. It is not safe for use by
// several goroutines at once.
package workqueue
