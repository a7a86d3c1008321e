// Package saga decides what a workflow does next: which step is begun, when it is tried again, when it has failed for good,
// and what is undone then, in the opposite order.
//
// It is a pure core. An Instance is one run of a Definition. Decide, Answer, Signal, Cancel and Retry say what happens, as
// an Event; Apply makes it so. An instance to which the same events are applied in the same order is in the same state, so
// whoever keeps the events keeps the run, and a simulator may call the same methods on its own clock. What is to be done
// outside is an Effect; it may be asked for once the event that began it is kept, and its outcome comes back by Answer.
//
// It promises: a step is begun only when all before it are done; a run that ends has all its steps done, or has undone every
// step that was done or may have been done, last first; what can't be undone is not forgotten but left as stuck, for a person.
// All attempts of a step have the same key. It never reads a clock, starts no goroutine, and takes randomness as a number.
// It is not safe for use by several goroutines at once.
//
// A step may be the pivot, the point of no return. Once it is done the run only goes forward: neither a failure, nor its
// time-out, nor a person has anything undone, and what fails for good leaves the run as stuck where it is.
//
// It can't promise that an attempt of which nothing was heard does not arrive after the step was undone: what undoes a step
// should make its key final, so that the late one is refused.
package saga
