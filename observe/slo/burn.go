package slo

import (
	"fmt"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
)

// Severity of an alert.
const (
	Page   = "page"   // somebody must act now
	Ticket = "ticket" // somebody must act within days
)

// Config of the alerts.
type Config struct {
	// MinEvents is how many bad events there must be at least within the long window. Default: 10.
	MinEvents int
	// Scrape is the interval at which the metrics are read: no window is shorter than four of them. Default: 15 s.
	Scrape time.Duration
}

func (c Config) withDefaults() Config {
	if c.MinEvents == 0 {
		c.MinEvents = 10
	}
	if c.Scrape == 0 {
		c.Scrape = 15 * time.Second
	}
	return c
}

// Burn is one rule: alert when both windows burn faster than the factor.
type Burn struct {
	Severity    string
	Long, Short time.Duration
	Factor      float64
}

const month = 30 * 24 * time.Hour

// workbook is the table of the SRE workbook, for a window of 30 days.
var workbook = []Burn{
	{Page, time.Hour, 5 * time.Minute, 14.4},
	{Page, 6 * time.Hour, 30 * time.Minute, 6},
	{Ticket, 24 * time.Hour, 2 * time.Hour, 3},
	{Ticket, 3 * 24 * time.Hour, 6 * time.Hour, 1},
}

// Burns are the rules for an objective. For windows of other than 30 days the table's windows shrink, or its factors grow,
// so that each rule stands for the same share of the budget. Left out are rules that can never be met (the budget is so large
// that no share of failures burns as fast), and those whose windows are too short to be measured.
func Burns(o Objective, cfg Config) []Burn {
	cfg = cfg.withDefaults()
	least := 4 * cfg.Scrape
	var out []Burn
	for _, b := range workbook {
		switch scale := float64(o.Window) / float64(month); {
		case scale > 1:
			b.Factor *= scale
		case scale < 1:
			b.Long, b.Short = scaled(b.Long, scale), scaled(b.Short, scale)
		}
		if b.Short < least {
			b.Short = least
		}
		if b.Factor*o.Budget() >= 1 || b.Long < 3*b.Short {
			continue
		}
		out = append(out, b)
	}
	return out
}

// scaled rounds down to whole seconds.
func scaled(d time.Duration, by float64) time.Duration {
	return time.Duration(float64(d) * by).Truncate(time.Second)
}

// expr is the condition of a rule.
func (b Burn) expr(o Objective, cfg Config) string {
	long, short := Promql(b.Long), Promql(b.Short)
	threshold := fmt.Sprintf("%.10g", b.Factor*o.Budget())
	return fmt.Sprintf("(%s > %s)\nand (%s > %s)\nand (%s >= %d)",
		o.Ratio(long), threshold, o.Ratio(short), threshold, o.Bad("increase", long), cfg.MinEvents)
}

// Names of the alerts.
const (
	BurnAlert     = "ErrorBudgetBurn"
	WatchdogAlert = "Watchdog"
)

// Rules are the groups of rules for a system's objectives, and the watchdog: an alert that always fires, so that whoever
// gets it no more knows that something between here and there is broken.
func Rules(all []Objective, cfg Config) []rulefmt.RuleGroup {
	cfg = cfg.withDefaults()
	groups := []rulefmt.RuleGroup{{Name: "watchdog", Interval: model.Duration(cfg.Scrape), Rules: []rulefmt.Rule{{
		Alert: WatchdogAlert, Expr: "vector(1)", Labels: map[string]string{"severity": "none"},
		Annotations: map[string]string{"summary": "Always firing: when it stops, alerts do not arrive."},
	}}}}
	for _, o := range all {
		g := rulefmt.RuleGroup{Name: "slo " + o.SLO + " " + o.Kind}
		for _, b := range Burns(o, cfg) {
			// The rate over a long window changes slowly, and costs more to reckon.
			every := min(max(b.Short/10, cfg.Scrape), 5*time.Minute).Truncate(time.Second)
			g := g
			g.Name += " " + Promql(b.Long)
			g.Interval = model.Duration(every)
			g.Rules = []rulefmt.Rule{{
				Alert:  BurnAlert,
				Expr:   b.expr(o, cfg),
				Labels: map[string]string{"severity": b.Severity, "slo": o.SLO, "objective": o.Kind, "route": o.Route, "service": o.Service, "window": Promql(b.Long)},
				Annotations: map[string]string{
					"summary": fmt.Sprintf("%s: %s of %s is being missed", o.SLO, o.Kind, o.Route),
					"description": fmt.Sprintf("{{ $value | humanizePercentage }} of the requests of the last %s were bad, more than %.4g times the %.4g %% that may be over %s.",
						Promql(b.Long), b.Factor, 100*o.Budget(), Promql(o.Window)),
				},
			}}
			groups = append(groups, g)
		}
	}
	return groups
}
