package grafana

import (
	"fmt"

	"github.com/banyanhq/banyan/observe/slo"
)

// quantile of a histogram, by labels.
func quantile(p float64, metric, selector, by string) string {
	return fmt.Sprintf("histogram_quantile(%g, sum by (le, %s) (rate(%s_bucket%s[$__rate_interval])))", p, by, metric, selector)
}

const (
	routeRequests = "banyan_gateway_requests_total"
	routeDuration = "banyan_gateway_request_duration_seconds"
	edgeRequests  = "banyan_gateway_edge_requests_total"
	edgeDuration  = "banyan_gateway_edge_request_duration_seconds"
	failed        = `code=~"5..|0"`
)

func system() Dashboard {
	b := newBuilder("banyan-system")
	b.variable("route", routeRequests, "route")
	sel := `{route=~"$route"}`
	b.row("Requests from outside")
	b.add(panel{title: "Requests by route", unit: perSecond, queries: []query{
		q("{{route}}", fmt.Sprintf("sum by (route) (rate(%s%s[$__rate_interval]))", routeRequests, sel))}})
	b.add(panel{title: "Share that failed", unit: share, help: "Answers of 500 and above, and requests that got none.", queries: []query{
		q("{{route}}", fmt.Sprintf(`sum by (route) (rate(%[1]s{route=~"$route",%[2]s}[$__rate_interval])) / sum by (route) (rate(%[1]s%[3]s[$__rate_interval]))`, routeRequests, failed, sel))}})
	b.add(panel{title: "Latency, p50 and p99", unit: seconds, queries: []query{
		q("p50 {{route}}", quantile(0.5, routeDuration, sel, "route")), q("p99 {{route}}", quantile(0.99, routeDuration, sel, "route"))}})
	b.add(panel{title: "In flight", unit: count, queries: []query{q("{{route}}", fmt.Sprintf("sum by (route) (banyan_gateway_requests_in_flight%s)", sel))}})
	b.add(panel{title: "Answers by status", unit: perSecond, queries: []query{q("{{code}}", fmt.Sprintf("sum by (code) (rate(%s%s[$__rate_interval]))", routeRequests, sel))}})
	b.add(panel{title: "Retries and hedges", unit: perSecond, queries: []query{
		q("retries {{route}}", fmt.Sprintf("sum by (route) (rate(banyan_gateway_retries_total%s[$__rate_interval]))", sel)),
		q("hedges {{route}}", fmt.Sprintf("sum by (route) (rate(banyan_gateway_hedges_total%s[$__rate_interval]))", sel))}})
	b.row("Calls between services")
	b.add(panel{title: "Calls", unit: perSecond, queries: []query{q("{{from}} → {{to}}", fmt.Sprintf("sum by (from, to) (rate(%s[$__rate_interval]))", edgeRequests))}})
	b.add(panel{title: "Share that failed", unit: share, queries: []query{
		q("{{from}} → {{to}}", fmt.Sprintf("sum by (from, to) (rate(%[1]s{%[2]s}[$__rate_interval])) / sum by (from, to) (rate(%[1]s[$__rate_interval]))", edgeRequests, failed))}})
	b.add(panel{title: "p99", unit: seconds, queries: []query{q("{{from}} → {{to}}", quantile(0.99, edgeDuration, "", "from, to"))}})
	b.row("Services and machine")
	b.add(panel{title: "Replicas ready", unit: count, queries: []query{
		q("{{service}}", "banyan_service_replicas_ready"), q("{{service}} wanted", "banyan_service_replicas_wanted")}})
	b.add(panel{title: "CPU by service", unit: cores, help: "Cores.", queries: []query{q("{{service}}", "sum by (service) (rate(banyan_replica_cpu_seconds_total[$__rate_interval]))")}})
	b.add(panel{title: "Memory by service", unit: bytes, queries: []query{q("{{service}}", "sum by (service) (banyan_replica_memory_bytes)")}})
	b.add(panel{title: "CPU of the machine", unit: share, max: 1, queries: []query{
		q("used", "rate(banyan_machine_cpu_seconds_total[$__rate_interval]) / banyan_machine_cpu_cores"),
		q("taken by the hypervisor", "rate(banyan_machine_cpu_stolen_seconds_total[$__rate_interval]) / banyan_machine_cpu_cores")}})
	b.add(panel{title: "Memory of the machine", unit: bytes, queries: []query{q("used", "banyan_machine_memory_used_bytes"), q("all", "banyan_machine_memory_bytes")}})
	b.add(panel{title: "Pressure", unit: share, help: "Share of the time in which tasks waited (PSI).", queries: []query{
		q("{{resource}} {{share}}", "rate(banyan_machine_pressure_seconds_total[$__rate_interval])")}})
	return b.build("banyan-system", "Banyan: the system")
}

func service() Dashboard {
	b := newBuilder("banyan-service")
	b.variable("service", "banyan_service_replicas_wanted", "service")
	sel := `{service=~"$service"}`
	b.row("What its callers see")
	b.add(panel{title: "Calls of services", unit: perSecond, queries: []query{q("{{from}} → {{to}}", fmt.Sprintf(`sum by (from, to) (rate(%s{to=~"$service"}[$__rate_interval]))`, edgeRequests))}})
	b.add(panel{title: "Requests from outside", unit: perSecond, queries: []query{q("{{route}}", fmt.Sprintf("sum by (route) (rate(%s%s[$__rate_interval]))", routeRequests, sel))}})
	b.add(panel{title: "p99 of its routes", unit: seconds, queries: []query{q("{{route}}", quantile(0.99, routeDuration, sel, "route"))}})
	b.row("Replicas")
	b.add(panel{title: "Tries by replica", unit: perSecond, queries: []query{q("{{backend}}", fmt.Sprintf("sum by (backend) (rate(banyan_gateway_backend_requests_total%s[$__rate_interval]))", sel))}})
	b.add(panel{title: "Failed tries by replica", unit: perSecond, queries: []query{q("{{backend}}", fmt.Sprintf("sum by (backend) (rate(banyan_gateway_backend_failures_total%s[$__rate_interval]))", sel))}})
	b.add(panel{title: "In flight by replica", unit: count, queries: []query{q("{{backend}}", fmt.Sprintf("banyan_gateway_backend_requests_in_flight%s", sel))}})
	b.add(panel{title: "CPU, of the limit", unit: share, thresholds: []float64{0.7, 0.9}, queries: []query{
		q("{{replica}}", fmt.Sprintf("rate(banyan_replica_cpu_seconds_total%[1]s[$__rate_interval]) / on (service, replica) banyan_replica_cpu_limit_cores%[1]s", sel))}})
	b.add(panel{title: "Held back by the CPU limit", unit: share, help: "Share of the time; several threads add up.", queries: []query{
		q("{{replica}}", fmt.Sprintf("rate(banyan_replica_cpu_throttled_seconds_total%s[$__rate_interval])", sel))}})
	b.add(panel{title: "Memory", unit: bytes, queries: []query{
		q("{{replica}}", "banyan_replica_memory_bytes"+sel), q("limit of {{replica}}", "banyan_replica_memory_limit_bytes"+sel)}})
	b.add(panel{title: "CPU", unit: cores, help: "Cores.", queries: []query{q("{{replica}}", fmt.Sprintf("rate(banyan_replica_cpu_seconds_total%s[$__rate_interval])", sel))}})
	b.add(panel{title: "Pressure", unit: share, help: "Share of the time in which tasks waited (PSI).", queries: []query{
		q("{{replica}} {{resource}} {{share}}", fmt.Sprintf("rate(banyan_replica_pressure_seconds_total%s[$__rate_interval])", sel))}})
	b.add(panel{title: "Restarts", unit: count, queries: []query{q("{{replica}}", "banyan_replica_restarts_total"+sel)}})
	return b.build("banyan-service", "Banyan: a service")
}

func cache() Dashboard {
	b := newBuilder("banyan-cache")
	b.variable("cache", "banyan_cache_server_keys", "cache")
	sel := `{cache=~"$cache"}`
	rate := func(metric string) string {
		return fmt.Sprintf("rate(banyan_cache_server_%s%s[$__rate_interval])", metric, sel)
	}
	b.row("Caches behind the Redis protocol")
	b.add(panel{title: "Hit ratio", unit: share, max: 1, queries: []query{q("{{cache}}", fmt.Sprintf("%[1]s / (%[1]s + %[2]s)", rate("hits_total"), rate("misses_total")))}})
	b.add(panel{title: "Commands", unit: "ops", queries: []query{q("{{cache}}", rate("commands_total")), q("errors of {{cache}}", rate("errors_total"))}})
	b.add(panel{title: "Memory", unit: bytes, queries: []query{q("{{cache}}", "banyan_cache_server_memory_bytes"+sel), q("limit of {{cache}}", "banyan_cache_server_memory_limit_bytes"+sel)}})
	b.add(panel{title: "Keys", unit: count, queries: []query{q("{{cache}}", "banyan_cache_server_keys"+sel)}})
	b.add(panel{title: "Dropped", unit: "ops", queries: []query{q("evicted {{cache}}", rate("evictions_total")), q("expired {{cache}}", rate("expired_total"))}})
	b.add(panel{title: "Connections", unit: count, queries: []query{q("{{cache}}", "banyan_cache_server_clients"+sel)}})
	b.row("The HTTP cache of routes")
	b.add(panel{title: "Requests by what became of them", unit: perSecond, queries: []query{q("{{route}} {{result}}", "sum by (route, result) (rate(banyan_gateway_cache_requests_total[$__rate_interval]))")}})
	b.add(panel{title: "Share that no service was asked for", unit: share, max: 1, queries: []query{
		q("{{route}}", `sum by (route) (rate(banyan_gateway_cache_requests_total{result=~"hit|stale|coalesced"}[$__rate_interval])) / sum by (route) (rate(banyan_gateway_cache_requests_total[$__rate_interval]))`)}})
	b.add(panel{title: "Memory", unit: bytes, queries: []query{q("{{route}}", "banyan_gateway_cache_bytes")}})
	return b.build("banyan-cache", "Banyan: caches")
}

func queue() Dashboard {
	b := newBuilder("banyan-queue")
	b.variable("queue", "banyan_queue_messages", "queue")
	sel := `{queue=~"$queue"}`
	event := func(name string) string {
		return fmt.Sprintf(`rate(banyan_queue_events_total{queue=~"$queue",event=%q}[$__rate_interval])`, name)
	}
	b.row("Queues")
	b.add(panel{title: "Messages by state", unit: count, queries: []query{q("{{queue}} {{state}}", "banyan_queue_messages"+sel)}})
	b.add(panel{title: "Age of the oldest", unit: seconds, queries: []query{q("{{queue}}", "banyan_queue_oldest_age_seconds"+sel)}})
	b.add(panel{title: "Put and acknowledged", unit: "ops", queries: []query{q("put {{queue}}", event("put")), q("acknowledged {{queue}}", event("acked"))}})
	b.add(panel{title: "Delivered again, failed", unit: "ops", queries: []query{q("again {{queue}}", event("redelivered")), q("failed {{queue}}", event("failed"))}})
	b.add(panel{title: "Died", unit: count, help: "Messages that went to the dead letters in an hour.", queries: []query{
		q("{{queue}}", `increase(banyan_queue_events_total{queue=~"$queue",event="died"}[1h])`)}})
	b.add(panel{title: "Size", unit: bytes, queries: []query{q("{{queue}}", "banyan_queue_bytes"+sel)}})
	return b.build("banyan-queue", "Banyan: queues")
}

// slos shows a row of charts for each objective.
func slos(objectives []slo.Objective) Dashboard {
	b := newBuilder("banyan-slo")
	b.row("Alerts")
	b.add(panel{title: "Firing", unit: count, stat: true, thresholds: []float64{1, 1}, queries: []query{
		q("", `count(ALERTS{alertstate="firing",severity!="none"}) or vector(0)`)}})
	for _, o := range objectives {
		b.row(fmt.Sprintf("%s: %s, %.6g %% over %s", o.SLO, o.Kind, 100*o.Target, slo.Promql(o.Window)))
		b.add(panel{title: "Good", unit: share, stat: true, help: "Share of good requests in the window.", queries: []query{
			q("", "1 - "+o.Ratio(slo.Promql(o.Window)))}})
		b.add(panel{title: "Bad requests", unit: perSecond, queries: []query{q("bad", o.Bad("rate", "$__rate_interval")), q("all", o.Total("rate", "$__rate_interval"))}})
		b.add(panel{title: "Rate at which the budget burns", unit: count, help: "At 1 the budget lasts exactly for the window.", thresholds: []float64{1, 14.4}, queries: []query{
			q("over 5m", fmt.Sprintf("%s / %.10g", o.Ratio("5m"), o.Budget())), q("over 1h", fmt.Sprintf("%s / %.10g", o.Ratio("1h"), o.Budget()))}})
	}
	return b.build("banyan-slo", "Banyan: SLOs")
}
