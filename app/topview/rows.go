package topview

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/banyanhq/banyan/observe"
)

// pane is one of the three tables, or the picture of the architecture.
type pane int

const (
	services pane = iota
	routes
	edges
	picture
	panes // how many there are
)

func (p pane) String() string { return [...]string{"Services", "Routes", "Edges", "Map"}[p] }

// order of the rows.
type order int

const (
	byName order = iota
	byRate
	byP99
	byErrors
	byCPU // services only, as the next
	byMemory
)

func (o order) String() string {
	return [...]string{"name", "req/s", "p99", "errors", "cpu", "memory"}[o]
}

// next returns the order after o that p can be in.
func (o order) next(p pane) order {
	if o >= byErrors && p != services || o >= byMemory {
		return byName
	}
	return o + 1
}

// tone is what a cell says by its colour; the text says it as well.
type tone int

const (
	plain tone = iota
	dim
	good
	warn
	bad
	strong
)

type cell struct {
	text  string
	tone  tone
	spark []float64 // drawn instead of text, if set
}

// column of a table. Those with the highest drop go first when the terminal is narrow; 0 always stays.
type column struct {
	title string
	width int // least width; flexible columns grow
	right bool
	drop  int
	flex  int // share of the spare width
	most  int // greatest width of a flexible column, 0: any
}

type row struct {
	key        string // stays the same from one status to the next
	cells      []cell
	expandable bool
	title      string
	trend      observe.Trend
	note       string
}

func serviceColumns() []column {
	return []column{
		{title: "SERVICE", width: 14, flex: 1, most: 40},
		{title: "READY", width: 5, right: true},
		{title: "REQ/S", width: 5, right: true},
		{title: "LAST MINUTE", width: 12, drop: 4, flex: 3, most: 20},
		{title: "P50", width: 6, right: true, drop: 1},
		{title: "P99", width: 6, right: true},
		{title: "LAST MINUTE", width: 12, drop: 5, flex: 3, most: 20},
		{title: "ERR", width: 5, right: true},
		{title: "CPU", width: 5, right: true},
		{title: "MEMORY", width: 7, right: true, drop: 2},
		{title: "BREAKER", width: 7, drop: 3},
	}
}

func callColumns(title string) []column {
	return []column{
		{title: title, width: 16, flex: 2, most: 48},
		{title: "REQ/S", width: 5, right: true},
		{title: "LAST MINUTE", width: 10, drop: 3, flex: 3, most: 20},
		{title: "MEAN", width: 6, right: true, drop: 4},
		{title: "P50", width: 6, right: true, drop: 1},
		{title: "P99", width: 6, right: true},
		{title: "LAST MINUTE", width: 10, drop: 5, flex: 3, most: 20},
		{title: "ERR", width: 5, right: true},
		{title: "IN FLIGHT", width: 9, right: true, drop: 2},
	}
}

func columnsOf(p pane) []column {
	switch p {
	case routes:
		return callColumns("ROUTE")
	case edges:
		return callColumns("EDGE")
	}
	return serviceColumns()
}

// rowsOf returns the rows of a pane in order, with the replicas of the services that are expanded.
func rowsOf(st observe.Status, p pane, o order, expanded func(service string) bool) []row {
	var rows []row
	switch p {
	case services:
		all := slices.Clone(st.Services)
		slices.SortStableFunc(all, func(a, b observe.ServiceStatus) int {
			switch o {
			case byCPU:
				return cmp.Compare(b.Cores, a.Cores)
			case byMemory:
				return cmp.Compare(b.Memory, a.Memory)
			}
			return compareCalls(o, a.CallStatus, b.CallStatus)
		})
		for _, s := range all {
			rows = append(rows, serviceRow(s, expanded(s.Service)))
			if expanded(s.Service) {
				for i, r := range s.Replicas {
					rows = append(rows, replicaRow(s.Service, r, i == len(s.Replicas)-1))
				}
			}
		}
	case routes:
		rows = callRows(st.Routes, o, func(c observe.CallStatus) string { return clean(c.Route) })
	case edges:
		rows = callRows(st.Edges, o, func(c observe.CallStatus) string { return edgeName(c.From) + " → " + clean(c.To) })
	}
	return rows
}

func edgeName(from string) string {
	if from == observe.Outside {
		return "outside"
	}
	return clean(from)
}

func compareCalls(o order, a, b observe.CallStatus) int {
	switch o {
	case byRate:
		return cmp.Compare(b.Rate, a.Rate)
	case byP99:
		return cmp.Compare(b.Latency.P99, a.Latency.P99)
	case byErrors:
		return cmp.Compare(b.Errors, a.Errors)
	}
	return 0 // the status is ordered by name
}

func serviceRow(s observe.ServiceStatus, open bool) row {
	mark, health := "▸", good
	if open {
		mark = "▾"
	}
	dot := "●"
	switch {
	case s.Wanted == 0 && s.Ready == 0:
		dot, health = "○", dim
	case s.Ready == 0:
		dot, health = "○", bad
	case s.Ready < s.Wanted:
		dot, health = "◐", warn
	}
	limit, memory := 0.0, int64(0)
	for _, r := range s.Replicas {
		limit += r.CPULimit
		memory += r.MemoryLimit
	}
	b, bt := breakers(s.Breakers)
	return row{
		key: "service " + s.Service, expandable: true, title: clean(s.Service), trend: s.Trend, note: clean(s.Message),
		cells: []cell{
			{text: mark + " " + clean(s.Service), tone: strong},
			{text: fmt.Sprintf("%s %d/%d", dot, s.Ready, s.Wanted), tone: health},
			{text: rate(s.Rate)},
			{spark: s.Trend.Rate, tone: dim},
			{text: latency(s.Latency.P50)},
			{text: latency(s.Latency.P99)},
			{spark: durations(s.Trend.P99), tone: dim},
			{text: percent(s.Errors), tone: errorTone(s.Errors)},
			{text: cores(s.Cores), tone: limitTone(s.Cores, limit)},
			{text: size(s.Memory), tone: limitTone(float64(s.Memory), float64(memory))},
			{text: b, tone: bt},
		},
	}
}

func replicaRow(service string, r observe.ReplicaStatus, last bool) row {
	branch := "├"
	if last {
		branch = "└"
	}
	state, st := clean(r.State), dim
	switch {
	case r.State == observe.StateReady && r.Draining:
		state, st = "draining", warn
	case r.State == observe.StateReady:
	case r.State == "":
		state = none
	default:
		st = warn
	}
	breaker, bt := string(r.Breaker), dim
	switch r.Breaker {
	case "":
		breaker = none
	case observe.BreakerOpen:
		bt = bad
	case observe.BreakerHalfOpen:
		breaker, bt = "half", warn
	}
	return row{
		key: "replica " + service + " " + r.Replica, title: clean(r.Replica), note: replicaNote(r),
		cells: []cell{
			{text: "  " + branch + " " + clean(r.Replica), tone: dim},
			{text: short(state), tone: st},
			{text: rate(r.Rate), tone: dim},
			{},
			{text: latency(r.Latency.P50), tone: dim},
			{text: latency(r.Latency.P99), tone: dim},
			{},
			{text: percent(r.Errors), tone: max(errorTone(r.Errors), dim)},
			{text: cores(r.Cores), tone: max(limitTone(r.Cores, r.CPULimit), dim)},
			{text: size(r.Memory), tone: max(limitTone(float64(r.Memory), float64(r.MemoryLimit)), dim)},
			{text: breaker, tone: bt},
		},
	}
}

// short keeps the states that the orchestrator uses within five cells.
func short(state string) string {
	switch state {
	case "starting":
		return "start"
	case "draining":
		return "drain"
	case "back-off", "backoff":
		return "wait"
	case "crash-loop", "crash-looping":
		return "crash"
	}
	return state
}

func replicaNote(r observe.ReplicaStatus) string {
	var parts []string
	add := func(format string, v ...any) { parts = append(parts, fmt.Sprintf(format, v...)) }
	if r.State != "" {
		add("%s", r.State)
	}
	if r.Address != "" {
		add("at %s", r.Address)
	}
	if r.Address != "" && !r.Healthy {
		add("health checks fail")
	}
	if r.Restarts > 0 {
		add("%d restarts", r.Restarts)
	}
	if r.InFlight > 0 {
		add("%d in flight", r.InFlight)
	}
	if r.CPULimit > 0 {
		add("limit %s cores", cores(r.CPULimit))
	}
	if r.MemoryLimit > 0 {
		add("limit %s", size(r.MemoryLimit))
	}
	if r.LimitsAdvisory && (r.CPULimit > 0 || r.MemoryLimit > 0) {
		add("limits are not enforced here")
	}
	if r.Throttled >= 0.005 {
		add("throttled %s of the time", percent(r.Throttled))
	}
	return clean(strings.Join(parts, " · "))
}

func callRows(calls []observe.CallStatus, o order, name func(observe.CallStatus) string) []row {
	all := slices.Clone(calls)
	slices.SortStableFunc(all, func(a, b observe.CallStatus) int { return compareCalls(o, a, b) })
	rows := make([]row, 0, len(all))
	for _, c := range all {
		rows = append(rows, row{
			key: "call " + c.Route + "|" + c.From + "|" + c.To, title: name(c), trend: c.Trend, note: codes(c.ByCode),
			cells: []cell{
				{text: name(c), tone: strong},
				{text: rate(c.Rate)},
				{spark: c.Trend.Rate, tone: dim},
				{text: latency(c.Latency.Mean)},
				{text: latency(c.Latency.P50)},
				{text: latency(c.Latency.P99)},
				{spark: durations(c.Trend.P99), tone: dim},
				{text: percent(c.Errors), tone: errorTone(c.Errors)},
				{text: fmt.Sprint(c.InFlight)},
			},
		})
	}
	return rows
}

// codes writes how often each status was answered, in order.
func codes(byCode map[int]int64) string {
	var parts []string
	for code := range byCode {
		parts = append(parts, fmt.Sprintf("%d: %d", code, byCode[code]))
	}
	slices.Sort(parts)
	return strings.Join(parts, " · ")
}

func breakers(b observe.BreakerStatus) (string, tone) {
	switch {
	case b.Open > 0:
		return fmt.Sprintf("%d open", b.Open), bad
	case b.HalfOpen > 0:
		return fmt.Sprintf("%d half", b.HalfOpen), warn
	case b.Closed > 0:
		return "closed", dim
	}
	return none, dim
}

func errorTone(share float64) tone {
	switch {
	case share >= 0.05:
		return bad
	case share > 0:
		return warn
	}
	return plain
}

func limitTone(used, limit float64) tone {
	if limit > 0 && used >= 0.9*limit {
		return warn
	}
	return plain
}
