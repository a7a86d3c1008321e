package cause

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

func TestQueriesParse(t *testing.T) {
	p := parser.NewParser(parser.Options{})
	for _, s := range saturations {
		if _, err := p.ParseExpr(s.expr); err != nil {
			t.Errorf("%s: %v", s.expr, err)
		}
	}
}

func TestSuspects(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	event := func(ago time.Duration, kind, service string) Event {
		return Event{at.Add(-ago), kind, service, kind + " of " + service}
	}
	events := []Event{event(10*time.Minute, "scaling", "web"), event(time.Minute, "deploy", "db"), event(30*time.Second, "deploy", "other"),
		event(time.Hour, "deploy", "web"), event(20*time.Second, "deploy", "web"), event(-time.Minute, "exit", "web")}
	query := func(_ context.Context, expr string, when time.Time) (promql.Vector, error) {
		switch {
		case !when.Equal(at):
			return nil, errors.New("asked for another time")
		case strings.Contains(expr, "memory_limit"):
			return promql.Vector{{Metric: labels.FromStrings("service", "db", "replica", "db-0"), F: 0.97}}, nil
		case strings.Contains(expr, "breaker"):
			return nil, errors.New("no")
		}
		return nil, nil
	}
	all, err := Suspects(t.Context(), labels.FromStrings("service", "web"), at, map[string][]string{"web": {"cart"}, "cart": {"db"}}, events, query)
	if err == nil {
		t.Error("nothing is said of the query that failed")
	}
	var got []string
	for _, s := range all {
		got = append(got, s.What)
	}
	want := "deploy of web; deploy of db; db-0 uses 97 % of its memory limit; scaling of web; deploy of other; exit of web"
	if text := strings.Join(got, "; "); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}
