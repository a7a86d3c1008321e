// Package policy holds the decisions that keep a system serving: which backend gets a request, whether a failed one is
// tried again, when a backend is left alone for a while, when a replica counts as healthy, when a dead one is started
// again.
//
// Each decision is a small core: state and event in, decision out. The gateway and the orchestrator run them for real;
// the simulator runs the very same code on its own clock, so that what is predicted is what will happen. The pieces:
//
//   - Picker chooses among the candidates of a Request (balance.go): round robin, least request; weighted round robin,
//     random (weighted.go); two choices by latency (p2c.go); by probes (prequal.go); by hash of a key (hash.go)
//   - Pool is a set of backends with a Picker, breakers, slow start (warm.go) and bound sessions (pool.go)
//   - Breaker takes one backend out of use while it keeps failing; MayEject bounds how many may be out (breaker.go)
//   - Pool.SetOutliers takes those out of use that are worse than their peers (outlier.go)
//   - Retrier decides whether a failed try is repeated, and after which pause; Budget bounds retries (retry.go, budget.go)
//   - Admission bounds how requests wait for a backend that is ready and has a place (admit.go)
//   - RateLimiter bounds the requests of each key (limit.go)
//   - Adaptive bounds the requests in flight to a service by their latency (adaptive.go)
//   - Health turns check results into up and down (health.go)
//   - Scaler decides how many replicas a service has, as Kubernetes does (scale.go); KnativeScaler, TrackingScaler and
//     StepScaler as others do (scale_kpa.go, scale_tracking.go); PredictiveScaler ahead of the traffic (scale_predict.go);
//     InsuredScaler by whichever of two pays (scale_insured.go); ServiceScaler by what a file says (scale_service.go)
//   - Restart spaces out the restarts of a program that keeps exiting (restart.go)
//
// What it promises: instants are a time.Duration since an origin of the caller's choosing and never go back by more
// than readings taken concurrently do; randomness comes in as an argument; no call blocks, allocates (New functions
// and Pool.Set aside), starts a goroutine, reads a clock or does any I/O. What it never does: find out by itself that something
// happened. The caller reports every event, and owns all goroutines.
//
// Each type says who must serialise its calls. Types that the data plane shares between requests (pickers, Breaker,
// Budget) are safe for concurrent use, and lock-free where they do not say otherwise; Health and Restart belong to one goroutine.
package policy
