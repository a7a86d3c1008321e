// Package plan predicts: from a topology and a load it says how fast each route answers, how busy each service is,
// what load the system holds, what breaks first and what to change.
//
//   - Predict reads a topology.System and a Load and returns a Prediction.
//   - Make adds what is held, the knee, single changes, and the load from which on a retry storm sustains itself.
//   - Grow looks ahead under a load that grows: when each resource and each SLO ends, losses of replicas, cost, the
//     cheapest changes that hold (Overlay writes them as a topology file), sensitivity, uncertain inputs.
//   - Calibrate turns a Measurement of a run into the demands that a prediction needs.
//   - Compare holds a Prediction against a Measurement and says where the model is outside its validity.
//
// The model: each route is a class of customers; the cores of the machine are one processor-sharing station that all
// services, the gateway and (where it runs on the same machine) the load generator share; a CPU limit is a quota that
// is refilled every 100 ms, as the kernel does; what is not CPU is a delay. Open loads are solved as M/M/c, closed ones
// by mean value analysis, through package queueing. Searches ask a compiled form of the model (steady.go).
//
// The package is pure: numbers in, numbers out. It reads no clock, no files and no network, and starts no goroutine.
package plan
