// Package autoscale decides how many replicas a service has, ahead of its traffic where that has proved to pay.
//
// A Predictor joins what is forecast with what is decided: it is fed a service's rate of requests and gives the outlook
// by which policy.PredictiveScaler decides. Capacity turns a rate into the replicas that hold an objective, by queueing.
// Sub-package replay plays recorded traffic against any policy, which is how a policy proves itself before it is used.
//
// The package has no clock and starts no goroutine: instants are arguments.
package autoscale
