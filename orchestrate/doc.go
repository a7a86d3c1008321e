// Package orchestrate runs the services of a system as processes of this machine and keeps them as they should be:
// desired -> actual.
//
// For each service one controller goroutine holds the desired state (how many replicas, which limits, which revision
// of the program) and hears of everything that happens to its replicas: ready, failing, exited. After each event a
// pure function (reconcile.go) compares the two and says what to do: start, restart, drain and stop, give up a
// replacement. Each running process has an instance (instance.go) that starts it inside its control group, checks it,
// captures its output and stops it.
//
// What it promises:
//
//   - A replica gets requests only while its ready check passes: the Balancer is told of it after the first pass, and
//     no longer the moment its process exits.
//   - A replica that is stopped on purpose is drained first: no new requests, those in flight finish, SIGTERM, and
//     SIGKILL at the service's drain deadline. What it forked is killed with it.
//   - Nothing outlives the supervisor. Children die with it by PR_SET_PDEATHSIG, and their children by a watchdog
//     process; where even that was killed, the next Run on the same state directory clears away what is left.
//   - CPU and memory limits are kept by control groups (v1, hybrid and v2) and changed on running replicas without a
//     restart. Where control groups cannot be written, limits are advisory and Status says so and why.
//   - When Run returns, all goroutines and children are gone.
//
// What it never does: choose the number of replicas by itself, send requests other than health checks, touch files
// outside its state directory (the Go build cache aside), keep a service's output from flowing because a disk is slow.
//
// The program's main must hand control to ShimMain when IsShim says so, before anything else: the package starts its
// own executable as the shim that limits a child before its first instruction, and as the watchdog.
//
// It needs Linux.
package orchestrate
