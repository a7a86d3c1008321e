// Package load proves what a system carries: it sends the requests of a workload to a real address and says, honestly,
// how it went.
//
// An open workload (a rate, stages or a recorded trace) is sent on a schedule in closed form: when the n-th scenario is
// due is computed from the rate and never from how the system does. Every latency counts from that intended start. A
// system that stalls for a second is charged with that second for each request that was due in it, sent or waiting in
// the generator: there is no coordinated omission. The service time, from the actual sending, is kept beside it, and so
// is the generator's own lateness. What could not be sent by the end, or a moment after it, is counted as not sent. A closed workload is a
// number of users who run scenarios, wait for each answer and think.
//
// HTTP/1.1 is written and parsed by the package itself over prebuilt bytes, without an allocation for a plain request in
// steady state. On Linux, connections without TLS are carried by event loops (loop), on which sessions are coroutines: one
// thread waits in one system call for answers and for the next instant of the schedule. Elsewhere, and for what speaks
// through a library with goroutines of its own, each session is a goroutine. Both run the same code (thread). The other
// protocols (a caller each: HTTP/2 and gRPC by net/http, WebSocket, TCP,
// RESP and NATS of its own, DynamoDB by the AWS SDK) allocate. Every failure is counted under its own name, by step. Redirects are
// answers and are not followed.
//
// FindKnee searches for the highest rate that holds an SLO, by probes that end before they drown the target; RunSweep
// runs one number of users after the other and fits the Universal Scalability Law; Compare says what differs between two
// results beyond chance.
//
// The package never hides a request, never repeats one that might have been carried out (RFC 9110, 9.2.2), never
// reports a percentile of percentiles, and leaves the warm-up out of every figure.
//
// A run may be sent by several processes (Worker, Config.Workers): each sends every n-th arrival of the one schedule, and
// what they counted is merged exactly. What a lost worker did is not guessed: its share is named and the run is not OK.
//
// Run owns every goroutine and connection that it starts; when it returns all are gone. Cancelling its context ends the
// run at once, with the result of what was done.
package load
