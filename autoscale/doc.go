// Package autoscale decides how many replicas each service has while the system runs, carries it out, and keeps why.
//
// A Controller asks for a Reading of each service every 15 s, forecasts its rate where the file says `predict`, lets
// policy.ServiceScaler decide, and tells its Fleet. The simulator and replay decide by the same ServiceScaler; what they leave
// out is what only running services have: schedules, budgets, bursts within an interval, limits of CPU and memory, and
// replicas that fail to start. Every Decision is kept: what was seen, what was forecast, what each side would have chosen, which
// was followed and why. A dry run takes the same path and changes nothing. While a
// service has no replica the Controller looks four times a second, so that a request that waits starts one.
//
// Capacity turns a rate into the replicas that hold an objective, by queueing. Sub-package replay plays recorded traffic
// against any policy, which is how a policy proves itself before it is used.
//
// Controller.Run is the one goroutine, the caller's. The Fleet is the seam to whoever runs the replicas: processes now.
package autoscale
