package grafana

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/banyanhq/banyan/observe/slo"
)

var objectives = []slo.Objective{{SLO: "checkout", Kind: "availability", Route: "POST /checkout", Target: 0.999, Window: 30 * 24 * time.Hour},
	{SLO: "checkout", Kind: "p99<200ms", Route: "POST /checkout", Target: 0.99, Window: 30 * 24 * time.Hour, Limit: 200 * time.Millisecond}}

// known are the units of Grafana that are used; a misspelt one is shown as a suffix.
var known = map[string]bool{"reqps": true, "s": true, "percentunit": true, "bytes": true, "none": true, "short": true, "ops": true}

func TestDashboards(t *testing.T) {
	all := All(objectives)
	if len(all) != 5 || len(All(nil)) != 4 {
		t.Fatalf("%d dashboards", len(all))
	}
	p := parser.NewParser(parser.Options{})
	uids := map[string]bool{}
	for _, d := range all {
		data, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var model struct {
			UID    string
			Title  string
			Panels []struct {
				ID          int
				Type, Title string
				GridPos     struct{ X, Y, W, H int }
				FieldConfig struct{ Defaults struct{ Unit string } }
				Targets     []struct{ Expr, RefID string }
			}
		}
		if err := json.Unmarshal(data, &model); err != nil {
			t.Fatal(err)
		}
		if uids[model.UID] || model.UID == "" {
			t.Errorf("%s: uid %q is missing or stands twice", d.Name, model.UID)
		}
		uids[model.UID] = true
		ids, places, queries := map[int]bool{}, map[[2]int]string{}, 0
		for _, panel := range model.Panels {
			if ids[panel.ID] {
				t.Errorf("%s: two panels have the id %d", d.Name, panel.ID)
			}
			ids[panel.ID] = true
			place := [2]int{panel.GridPos.X, panel.GridPos.Y}
			if before := places[place]; before != "" || panel.GridPos.X+panel.GridPos.W > 24 {
				t.Errorf("%s: %s lies on %s, or outside", d.Name, panel.Title, before)
			}
			places[place] = panel.Title
			if panel.Type == "row" {
				continue
			}
			if !known[panel.FieldConfig.Defaults.Unit] {
				t.Errorf("%s, %s: unit %q", d.Name, panel.Title, panel.FieldConfig.Defaults.Unit)
			}
			for _, target := range panel.Targets {
				queries++
				// Grafana fills its variables in before it asks.
				expr := strings.NewReplacer("$__rate_interval", "5m", "$route", ".*", "$service", ".*", "$cache", ".*", "$queue", ".*").Replace(target.Expr)
				if _, err := p.ParseExpr(expr); err != nil {
					t.Errorf("%s, %s: %s: %v", d.Name, panel.Title, expr, err)
				}
				if strings.Contains(expr, "$") {
					t.Errorf("%s, %s: %s: a variable that there is not", d.Name, panel.Title, expr)
				}
			}
		}
		if queries < 3 {
			t.Errorf("%s: only %d queries", d.Name, queries)
		}
	}
}
