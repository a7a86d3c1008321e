// Package bus runs queues and topics that any NATS client reaches, and any HTTP client as well.
//
// Queues are work queues of the package broker: each message is given to one consumer at a time until it is acknowledged,
// fails too often and becomes a dead letter, or ends. To NATS clients a queue looks like a JetStream stream of its name,
// whose subjects are queues.NAME and queues.NAME.KEY and which has every consumer that is asked for; all consumers share the
// messages. Topics are JetStream streams of the embedded NATS server, with the subjects topics.NAME and topics.NAME.KEY.
// The same server serves both, so clients may make streams, key-value buckets and the rest of JetStream beside them.
//
// It promises for queues what broker promises. For topics, an event is on disk before it is acknowledged, unless all topics are
// relaxed. Everything that comes from outside is bounded: the size of messages, of headers, of requests, of waiting
// consumers, of connections. What JetStream knows and a queue does not is refused by name, not ignored. It never
// drops a message to make room for another.
//
// Several nodes keep queues and topics together (Cluster): every message is on most of three disks before it is acknowledged, one
// node at a time serves the queues, and any node takes requests. A node that was taken for dead and comes back hands nothing out
// and stores nothing.
//
// New checks and allocates, Listen opens the addresses, Run owns every goroutine and waits for all of them.
package bus
