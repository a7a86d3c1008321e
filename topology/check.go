package topology

import (
	"fmt"
	"slices"
	"strings"
)

// checker looks for what is wrong between fields that are each right. It runs after problems too, and looks at what the
// file says (spots) rather than at zero values, so that one mistake is one problem.
type checker struct {
	*decoder
	sys   *System
	used  map[string]bool   // what stands in any 'uses'
	paths map[string]string // who answers at a path, for functions
}

func check(sys *System, d *decoder) {
	c := &checker{decoder: d, sys: sys}
	c.survey()
	c.layers()
	for _, name := range sys.SortedServices() {
		c.service(name, sys.Services[name])
	}
	c.uses()
	c.routes()
	c.several()
	c.connections()
	c.tls()
	c.tcp()
	c.blocks()
	c.sagas()
	for _, name := range sortedKeys(sys.Functions) {
		c.function(name, sys.Functions[name])
	}
	c.slos()
	c.monitoring()
	if sys.Workload != nil {
		c.workload(sys.Workload)
	}
	c.demands()
}

// at reports a problem at a spot.
func (c *checker) at(s spot, p Problem) { c.say(s.at, s.path, p) }

// unknown reports a name that points nowhere.
func (c *checker) unknown(s spot, what, name string, candidates func() []string) {
	c.at(s, Problem{Found: quoteFound(name), Message: "there is no such " + what, Hint: c.problems.didYouMean(name, candidates)})
}

func (c *checker) layers() {
	s := c.spots[c.sys].child("layers")
	for i, l := range c.sys.Layers {
		if slices.Contains(c.sys.Layers[:i], l) {
			c.at(s.item(i), Problem{Found: quoteFound(l), Message: "the layer stands twice"})
		}
		if i >= 100 {
			c.at(s, Problem{Message: "there are too many layers", Expected: "at most 100"})
			return
		}
	}
}

// reserved names stand for Banyan's own parts in demands.
func reserved(name string) bool { return name == "gateway" || name == "client" }

// minMemory is the least limit of memory that a replica may have.
const minMemory Bytes = 1 << 20

func (c *checker) service(name string, v *Service) {
	s := c.spots[v]
	if reserved(name) {
		c.at(c.spots[c.sys].child("services").name(name), Problem{Found: quoteFound(name),
			Message: "the name is reserved for Banyan's own " + name, Expected: "another name"})
	}
	if v.External() {
		c.external(s, v)
	} else if s.node != nil && s.node.kind == mapKind && s.child("build").node == nil && s.child("run").node == nil {
		c.at(c.spots[c.sys].child("services").name(name), Problem{Message: "neither build, run nor backends is given",
			Expected: "build: FOLDER of a Go package, run: COMMAND, or backends: [HOST:PORT] of a service that runs elsewhere"})
	}
	if m := v.Limits.Memory; m > 0 && m < minMemory {
		c.at(s.child("limits").child("memory"), Problem{Found: m.String(), Message: "no program runs in so little",
			Expected: "at least 1MiB, written with its unit"})
	}
	if v.Layer != "" && !slices.Contains(c.sys.Layers, v.Layer) {
		c.unknown(s.child("layer"), "layer", v.Layer, func() []string { return c.sys.Layers })
	}
	if _, ok := v.Env["PORT"]; ok {
		c.at(s.child("env").name("PORT"), Problem{Message: "PORT is given to each replica by Banyan", Expected: "another variable"})
	}
	if r := s.child("replicas"); v.Replicas.Min > v.Replicas.Max {
		c.at(r.child("max"), Problem{Found: fmt.Sprint(v.Replicas.Max),
			Message: fmt.Sprintf("max is less than min (%d)", v.Replicas.Min)})
	}
	if v.Deploy.Surge == 0 && v.Deploy.Unavailable == 0 {
		c.at(s.child("deploy"), Problem{Message: "surge and unavailable are both 0, so that no replica could ever be replaced",
			Expected: "one of them to be at least 1"})
	}
	if v.Restart.Min > v.Restart.Max {
		c.at(s.child("restart").child("min"), Problem{Found: v.Restart.Min.String(),
			Message: fmt.Sprintf("min is more than max (%v)", v.Restart.Max)})
	}
	c.scale(s.child("scale"), v)
	c.inbound(s.child("inbound"), v.Inbound)
	c.resilience(s.child("inbound"), v.Inbound, v)
	c.calls(s.child("work"), v.Work, v.Uses)
}

func (c *checker) scale(s spot, v *Service) {
	scale := v.Scale
	if scale == nil {
		return
	}
	if s.child("target").node.empty() {
		c.at(s, Problem{Message: "nothing is to be held", Expected: "a target such as {cpu: 70%}"})
	}
	for i, w := range scale.Schedule {
		item := s.child("schedule").item(i)
		switch {
		case w.At == "":
			c.at(item, Problem{Message: "it is not said when it begins", Expected: "'at', such as '30 8 * * mon-fri'"})
		case w.Min > v.Replicas.Max:
			c.at(item.child("min"), Problem{Found: fmt.Sprint(w.Min), Message: fmt.Sprintf("is more than replicas.max (%d)", v.Replicas.Max)})
		}
	}
	if b := s.child("budget"); scale.Budget > 0 {
		switch {
		case c.sys.Prices == nil || c.sys.Prices.CPUHour == 0:
			c.at(b, Problem{Message: "nothing says what a core costs", Expected: "prices.cpu_hour"})
		case v.Limits.CPU == 0 && scale.Vertical == nil:
			c.at(b, Problem{Message: "what a replica costs is not bounded", Expected: "limits.cpu of the service"})
		}
	}
	c.vertical(s.child("vertical"), v)
}

func (c *checker) vertical(s spot, v *Service) {
	vertical := v.Scale.Vertical
	if vertical == nil {
		return
	}
	cpu := vertical.Min > 0 || vertical.Max > 0
	switch {
	case !cpu && vertical.Memory == nil:
		c.at(s, Problem{Message: "nothing says how far a replica may grow", Expected: "min and max cores, or memory: {min, max}"})
	case cpu && vertical.Min < minVerticalCPU:
		c.at(s.child("min"), Problem{Found: fmt.Sprint(vertical.Min), Expected: fmt.Sprintf("at least %v cores", minVerticalCPU)})
	case cpu && vertical.Max < vertical.Min:
		c.at(s.child("max"), Problem{Found: fmt.Sprint(vertical.Max), Message: fmt.Sprintf("is less than min (%v)", vertical.Min)})
	case cpu && v.Scale.Target.CPU == 0:
		c.at(s, Problem{Message: "more CPU for each replica helps where the CPU is what is held", Expected: "scale.target.cpu"})
	case cpu && v.Limits.CPU == 0:
		c.at(s, Problem{Message: "the replicas have no limit of CPU that could grow", Expected: "limits.cpu of the service"})
	}
	if m := vertical.Memory; m != nil {
		switch {
		case m.Min < minMemory:
			c.at(s.child("memory").child("min"), Problem{Found: m.Min.String(), Expected: "at least 1MiB, written with its unit"})
		case m.Max < m.Min:
			c.at(s.child("memory").child("max"), Problem{Found: m.Max.String(), Message: fmt.Sprintf("is less than min (%v)", m.Min)})
		case v.Limits.Memory == 0:
			c.at(s.child("memory"), Problem{Message: "the replicas have no limit of memory that could grow", Expected: "limits.memory of the service"})
		}
	}
}

// minVerticalCPU is the least limit that a replica is scaled to.
const minVerticalCPU CPU = 0.05

// empty says whether the file says nothing at a node.
func (n *node) empty() bool {
	return n == nil || n.kind == nullKind || n.kind == mapKind && !slices.ContainsFunc(n.entries, func(e entry) bool {
		return e.value.kind != nullKind && !strings.HasPrefix(e.key, "x-")
	})
}

func (c *checker) inbound(s spot, v Inbound) {
	if b := v.Breaker; b != nil && b.Open > b.MaxOpen {
		c.at(s.child("breaker").child("open"), Problem{Found: b.Open.String(),
			Message: fmt.Sprintf("open is more than max_open (%v)", b.MaxOpen)})
	}
	if a := v.Adaptive; a != nil && a.Min > a.Max {
		c.at(s.child("adaptive").child("min"), Problem{Found: fmt.Sprint(a.Min), Message: fmt.Sprintf("min is more than max (%d)", a.Max)})
	}
	if v.Compress != nil {
		c.compress(s.child("compress"), *v.Compress)
	}
	if v.Limit != nil {
		c.limit(s.child("limit"), *v.Limit)
	}
	if v.Hash != nil {
		c.hash(s.child("hash"), *v.Hash)
	}
	if v.Sticky != nil && !isToken(v.Sticky.Cookie) {
		c.at(s.child("sticky").child("cookie"), Problem{Found: quoteFound(v.Sticky.Cookie), Expected: "the name of a cookie"})
	}
}

// limit checks that by and header agree.
func (c *checker) limit(s spot, v Limit) {
	switch {
	case v.By == "header" && v.Header == "":
		c.at(s, Problem{Message: "no header is named", Expected: "header: NAME"})
	case v.By != "header" && v.Header != "":
		c.at(s.child("header"), Problem{Found: quoteFound(v.Header), Message: "the header is not looked at", Hint: "say 'by: header'"})
	case !isToken(v.Header):
		c.at(s.child("header"), Problem{Found: quoteFound(v.Header), Expected: "the name of a header"})
	}
}

// hash checks that one thing is hashed, and that a request can have it.
func (c *checker) hash(s spot, v Hash) {
	var given []string
	for _, f := range []struct {
		name string
		is   bool
	}{{"header", v.Header != ""}, {"cookie", v.Cookie != ""}, {"query", v.Query != ""}, {"path", v.Path}, {"client", v.Client}} {
		if f.is {
			given = append(given, f.name)
		}
	}
	if len(given) != 1 && (s.node == nil || s.node.kind == mapKind) {
		c.at(s, Problem{Found: chainWords(given), Expected: "exactly one of header, cookie, query, path and client"})
	}
	for _, name := range []string{"header", "cookie"} {
		if text := map[string]string{"header": v.Header, "cookie": v.Cookie}[name]; !isToken(text) {
			c.at(s.child(name), Problem{Found: quoteFound(text), Expected: "the name of a " + name})
		}
	}
}

// isToken reports whether text can be the name of a header or a cookie (RFC 9110, 5.6.2), or is empty.
func isToken(text string) bool {
	for _, b := range []byte(text) {
		if b <= ' ' || b >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, b) >= 0 {
			return false
		}
	}
	return true
}

func (c *checker) calls(s spot, w *Work, uses []string) {
	if w == nil {
		return
	}
	used := make(map[string]bool, len(uses))
	for _, use := range uses {
		used[use] = true
	}
	for _, name := range sortedKeys(w.Calls) {
		if !used[name] {
			c.at(s.child("calls").name(name), Problem{Found: quoteFound(name), Message: "it is not among 'uses'",
				Hint: c.problems.didYouMean(name, func() []string { return uses })})
		}
	}
	for i, name := range w.Parallel {
		at := s.child("parallel").item(i)
		switch kind, _ := ServiceOf(name); {
		case !used[name]:
			c.at(at, Problem{Found: quoteFound(name), Message: "it is not among 'uses'",
				Hint: c.problems.didYouMean(name, func() []string { return uses })})
		case kind != "":
			c.at(at, Problem{Found: quoteFound(name), Expected: "services", Message: "blocks are asked one after the other"})
		case slices.Contains(w.Parallel[:i], name):
			c.at(at, Problem{Found: quoteFound(name), Message: "it stands twice"})
		}
	}
}

func (c *checker) routes() {
	first, names := map[string]*Route{}, map[string]*Route{}
	for _, r := range c.sys.Routes {
		s := c.spots[r]
		c.traffic(s, r)
		if strings.ContainsAny(r.Path, "?#*") {
			problem := Problem{Found: quoteFound(r.Path), Message: "a route's path holds no ?, # or *"}
			if base, ok := strings.CutSuffix(r.Path, "*"); ok && strings.HasSuffix(base, "/") {
				problem.Hint = fmt.Sprintf("%q matches everything below it", base)
			}
			c.at(s.child("path"), problem)
		}
		exact := r.Exact || !strings.HasSuffix(r.Path, "/")
		host := strings.ToLower(r.Host)
		if host == "*" {
			host = ""
		}
		match := strings.Join([]string{r.Method, host, r.Path, fmt.Sprint(exact)}, "\x00") + r.Match.key()
		if before := first[match]; before != nil && r.Path != "" {
			c.at(s, Problem{Message: "an earlier route matches the same requests", Hint: "it stands at " + c.where(before)})
		} else {
			first[match] = r
		}
		if before := names[r.Name]; before != nil {
			c.at(s.child("name"), Problem{Found: quoteFound(r.Name), Message: "an earlier route has the same name",
				Hint: "it stands at " + c.where(before)})
		} else {
			names[r.Name] = r
		}
		c.inbound(s, r.Inbound)
		c.httpCache(s, r)
		c.resilience(s, r.Inbound, c.sys.Services[r.To])
	}
	c.httpStore()
}

// where says the place of what a pointer points to.
func (c *checker) where(pointer any) string {
	at := c.spots[pointer].at
	return fmt.Sprintf("%s:%d:%d", c.sources[at.file].Name, at.line, at.column)
}

func (c *checker) slos() {
	for _, name := range sortedKeys(c.sys.SLOs) {
		v := c.sys.SLOs[name]
		s := c.spots[v]
		if v.Route != "" && c.sys.RouteByName(v.Route) == nil {
			c.unknown(s.child("route"), "route", v.Route, c.routeNames)
		}
		if s.child("latency").node.empty() && s.child("availability").node == nil {
			c.at(s, Problem{Message: "nothing is promised", Expected: "latency or availability"})
		}
		for _, p := range sortedKeys(v.Latency) {
			if l := s.child("latency").child(p); v.Latency[p] == 0 && l.node != nil && l.node.text == "0" {
				c.at(l, Problem{Found: "0", Expected: "a latency of more than 0"})
			}
		}
	}
}

func (c *checker) routeNames() []string {
	names := make([]string, len(c.sys.Routes))
	for i, r := range c.sys.Routes {
		names[i] = r.Name
	}
	return names
}

// demands checks the names in demands and in the calibration.
func (c *checker) demands() {
	s := c.spots[c.sys].child("demands")
	for _, route := range sortedKeys(c.sys.Demands) {
		if c.sys.RouteByName(route) == nil {
			c.unknown(s.name(route), "route", route, c.routeNames)
		}
		for _, service := range sortedKeys(c.sys.Demands[route]) {
			c.demand(s.child(route), service, c.sys.Demands[route][service])
		}
	}
	if k := c.sys.Calibration; k != nil {
		for _, service := range sortedKeys(k.Idle) {
			c.demandedService(c.spots[k].child("idle").name(service), service)
		}
	}
}

// demand checks what a request asks of one service or table.
func (c *checker) demand(s spot, name string, d *Demand) {
	kind, table := ServiceOf(name)
	if kind != "tables" {
		c.demandedService(s.name(name), name)
		if d != nil && d.Writes != nil {
			c.at(s.child(name).child("writes"), Problem{Message: "only operations on a table write", Expected: "this of tables.NAME"})
		}
		return
	}
	if c.sys.Tables[table] == nil {
		c.unknown(s.name(name), "table", table, func() []string { return sortedKeys(c.sys.Tables) })
	}
	if d != nil && (d.CPU > 0 || d.Async > 0 || d.Wake > 0 || d.Delay > 0 || len(d.Calls) > 0) {
		c.at(s.name(name), Problem{Message: "what operations cost, the table says (read, write, follow)", Expected: "visits and writes only"})
	}
}

func (c *checker) demandedService(s spot, name string) {
	if !reserved(name) && c.sys.Services[name] == nil {
		c.unknown(s, "service", name, func() []string { return append(c.sys.SortedServices(), "gateway", "client") })
	}
}
