// Package simulate replays a topology.System event by event, to see what it would do: under which load it is how fast,
// what happens when a replica dies, whether a retry storm feeds on itself, what an autoscaler makes of a Monday
// morning.
//
//	model, err := simulate.New(system, simulate.Options{Seed: 1})
//	result, err := model.Run(ctx)
//
// The model: requests of scenarios, from an open or a closed workload, pass the gateway to the replicas of services.
// A visit to a replica takes CPU time, then a delay, then calls other services one after the other, and answers. All
// replicas share the cores of the machine (processor sharing); one with a CPU limit stands still when it has used up
// its quota of a period, as the kernel does it. What is decided on the way (which replica, whether a call is tried
// again, when a replica is left alone) is decided by package policy: the very code that the gateway runs, on a simulated
// clock. docs/simulate.md says what is modelled how, and what is not.
//
// What it promises: the same system, options and seed give the same result bit for bit, on any number of cores. Each
// source of randomness has a stream of its own, so that two systems that differ in one place meet the same arrivals and
// demands elsewhere. Means come with 95 % confidence intervals over independent replications, the warm-up left out.
// Every run is bounded in events and memory, and says so with an error when it reaches the bound. Nothing is allocated
// for an event once a run has grown to its working size.
//
// What it never does: it reads no clock, no file and no network, and holds no package-level state. Run starts the
// goroutines that replications run on, and waits for them; a replication belongs to one of them. Options' functions
// are called on these goroutines: Progress by one at a time, Autoscale by several at once.
//
// The files: model.go, compile.go and workload.go read a system; engine.go is the list of events, processor.go the
// shared cores, arena.go the records; sim.go runs a replication, source.go its arrivals, call.go a call through the
// gateway, visit.go its handling, replica.go the life of replicas, fault.go and scale.go what changes them; tally.go
// and trace.go take notes; run.go runs replications and result.go adds them up.
package simulate
