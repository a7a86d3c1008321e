package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/banyanhq/banyan/plan"
)

// printPlanTables says what is expected of tables.
func printPlanTables(w io.Writer, tables []plan.TablePrediction) {
	if len(tables) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := table{head: []string{"TABLE", "SHARDS", "HOTTEST", "OPS/S", "WRITES", "READ", "WRITE", "BUSIEST NODE", "USED", "LOG"}}
	for _, p := range tables {
		t.row(p.Table, fmt.Sprint(p.Shards), percent(p.Hottest), digits(p.Rate), percent(p.Writes), duration(p.Read), duration(p.Write),
			percent(p.Busiest), percent(p.Used), percent(p.Log))
	}
	t.write(w)
}

// printComparedTables holds tables against what was measured of them.
func printComparedTables(w io.Writer, tables map[string]plan.TableComparison) {
	if len(tables) == 0 {
		return
	}
	latency := func(v float64) string { return duration(secs(v)) }
	for _, part := range []struct {
		what   string
		of     func(plan.TableComparison) plan.Pair
		format func(float64) string
	}{
		{"TABLE OPERATIONS/S", func(c plan.TableComparison) plan.Pair { return c.Rate }, digits},
		{"READ OF A TABLE", func(c plan.TableComparison) plan.Pair { return c.Read }, latency},
		{"WRITE TO A TABLE", func(c plan.TableComparison) plan.Pair { return c.Write }, latency},
		{"LOG BUSY", func(c plan.TableComparison) plan.Pair { return c.Log }, percent},
	} {
		t := comparisonTable(part.what)
		rows := 0
		for _, name := range slices.Sorted(maps.Keys(tables)) {
			if p := part.of(tables[name]); p.Measured > 0 || p.Predicted > 0 {
				t.row(cells(name, p, part.format)...)
				rows++
			}
		}
		if rows > 0 {
			t.write(w)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		if hot := tables[name].Hot; hot >= plan.HotShare {
			fmt.Fprintf(w, "\n%s: one partition key has %s of the operations; more shards and nodes do not spread it.\n", name, percent(hot))
		}
	}
}
