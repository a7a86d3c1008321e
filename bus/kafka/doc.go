// Package kafka is a client of one topic of a Kafka cluster: it publishes, reads again from any place, and gives out events to the
// members of consumer groups.
//
// It promises: Publish returns when all replicas in sync have the event (acks=all), which its own repetitions do not store twice; an
// event with a key goes to the partition that the Java client would choose. A group's offset passes an event only when that was acknowledged, so
// each event is given out at least once, whatever dies; of the events with one key one is given out at a time, in their order. What
// was acknowledged out of order is known to the process alone, and comes again if that dies. Transactions that were not committed
// are not seen.
//
// It is bounded: so many events and bytes that a group was given and has not settled, after which it reads no further.
//
// A Topic, its Groups and Readers are closed by those who opened them; until then each owns the goroutines of its client.
package kafka
