package topology

import (
	"fmt"
	"net/textproto"
	"strings"
)

// maxConditions bounds what one route may look at.
const maxConditions = 16

// destination checks that a route leads to services, or elsewhere.
func (c *checker) destination(s spot, r *Route) {
	split := s.child("split")
	switch {
	case r.Redirect != nil:
		for _, key := range []string{"to", "split", "canary", "mirror", "rewrite"} {
			if s.child(key).node != nil && !s.child(key).node.empty() {
				c.at(s.child(key), Problem{Message: "a redirect answers the requests, so that nothing of them goes there"})
			}
		}
	case r.To == "" && len(r.Split) == 0 && s.node != nil && s.node.kind == mapKind && s.child("to").node == nil:
		c.at(s, Problem{Message: "to is missing", Expected: "to: SERVICE, split: {SERVICE: WEIGHT, ...} or redirect: {...}"})
	}
	if r.To != "" {
		c.routeTo(s.child("to"), r.To)
	}
	if len(r.Split) > 0 {
		var sum float64
		for _, name := range sortedKeys(r.Split) {
			c.routeTo(split.name(name), name)
			sum += r.Split[name]
		}
		if sum <= 0 {
			c.at(split, Problem{Message: "all weights are 0"})
		}
		if _, in := r.Split[r.To]; r.To != "" && !in {
			c.at(s.child("to"), Problem{Found: quoteFound(r.To), Message: "it is not among those of split"})
		}
	}
}

// routeTo checks the name of a service that requests go to.
func (c *checker) routeTo(s spot, name string) {
	if c.sys.Services[name] != nil {
		return
	}
	problem := Problem{Found: quoteFound(name), Message: "there is no such service", Hint: c.problems.didYouMean(name, c.sys.SortedServices)}
	if c.sys.Functions[name] != nil {
		problem.Hint = "a function is reached by its own 'on: {http: PATH}'"
	}
	c.at(s, problem)
}

// traffic checks what a route does with its requests.
func (c *checker) traffic(s spot, r *Route) {
	c.destination(s, r)
	if r.Match != nil {
		c.match(s.child("match"), r.Match)
	}
	if v := r.Canary; v != nil {
		at := s.child("canary")
		if v.To != "" {
			c.routeTo(at.child("to"), v.To)
		}
		if v.To == r.To && r.To != "" {
			c.at(at.child("to"), Problem{Found: quoteFound(v.To), Message: "the route leads to the same service already"})
		}
		if len(r.Split) > 0 {
			c.at(at, Problem{Message: "a canary is compared with one service, and the route is split between several"})
		}
		for i := 1; i < len(v.Steps); i++ {
			if v.Steps[i] <= v.Steps[i-1] {
				c.at(at.child("steps").item(i), Problem{Found: v.Steps[i].String(), Expected: "more than the step before"})
			}
		}
	}
	if v := r.Mirror; v != nil && v.To != "" {
		c.routeTo(s.child("mirror").child("to"), v.To)
	}
	if r.Rewrite != nil {
		c.rewrite(s.child("rewrite"), r)
	}
	if r.Headers != nil {
		c.headerEdit(s.child("headers").child("request"), r.Headers.Request)
		c.headerEdit(s.child("headers").child("response"), r.Headers.Response)
	}
	if r.Redirect != nil {
		c.redirect(s.child("redirect"), r)
	}
	if f := r.Fault; f != nil {
		at := s.child("fault")
		if f.Delay == 0 && f.Abort == 0 {
			c.at(at, Problem{Message: "nothing is hurt", Expected: "delay, abort or both"})
		}
		if f.Abort != 0 && f.Abort < 400 {
			c.at(at.child("abort"), Problem{Found: fmt.Sprint(f.Abort), Expected: "a status from 400 to 599"})
		}
	}
}

func (c *checker) match(s spot, m *Match) {
	conditions := m.conditions()
	switch {
	case len(conditions) == 0:
		c.at(s, Problem{Message: "nothing is to be matched", Expected: "headers, cookies or query"})
	case len(conditions) > maxConditions:
		c.at(s, Problem{Found: fmt.Sprintf("%d conditions", len(conditions)), Expected: fmt.Sprintf("at most %d", maxConditions)})
	}
	for _, cond := range conditions {
		if cond.name == "" || cond.from != 'q' && !isToken(cond.name) {
			key := map[byte]string{'h': "headers", 'c': "cookies", 'q': "query"}[cond.from]
			c.at(s.child(key).name(cond.name), Problem{Found: quoteFound(cond.name), Expected: "the name of one of the " + key})
		}
	}
}

func (c *checker) rewrite(s spot, r *Route) {
	v := r.Rewrite
	switch {
	case (v.From == "") != (v.To == ""):
		c.at(s, Problem{Message: "from and to belong together"})
	case v.From != "" && v.Prefix != "":
		c.at(s.child("prefix"), Problem{Message: "from and to make the whole path, so that there is no prefix left to change"})
	case v.From == "" && v.Prefix == "" && v.Host == "":
		c.at(s, Problem{Message: "nothing is rewritten", Expected: "prefix, from and to, or host"})
	case v.From != "":
		if _, err := NewPathRewrite(v.From, v.To); err != nil {
			c.at(s, Problem{Message: err.Error()})
		}
	}
	if strings.Contains(v.Host, "*") {
		c.at(s.child("host"), Problem{Found: quoteFound(v.Host), Expected: "one host"})
	}
	c.prefix(s.child("prefix"), r, v.Prefix)
}

func (c *checker) redirect(s spot, r *Route) {
	v := r.Redirect
	switch v.Status {
	case 301, 302, 303, 307, 308:
	default:
		c.at(s.child("status"), Problem{Found: fmt.Sprint(v.Status), Expected: "301, 302, 303, 307 or 308"})
	}
	if v.Scheme == "" && v.Host == "" && v.Path == "" && v.Prefix == "" {
		c.at(s, Problem{Message: "it leads to where it comes from", Expected: "scheme, host, path or prefix"})
	}
	if v.Path != "" && v.Prefix != "" {
		c.at(s.child("prefix"), Problem{Message: "path is the whole path, so that there is no prefix left to change"})
	}
	if v.Host != "" && strings.ContainsAny(v.Host, "/?#@ \\*\"<>") {
		c.at(s.child("host"), Problem{Found: quoteFound(v.Host), Expected: "a host, with a port where one is needed"})
	}
	c.prefix(s.child("prefix"), r, v.Prefix)
}

// prefix checks that a prefix takes the place of a prefix: both end in a slash, or neither does.
func (c *checker) prefix(s spot, r *Route, prefix string) {
	if prefix != "" && r.Path != "" && strings.HasSuffix(prefix, "/") != strings.HasSuffix(r.Path, "/") {
		c.at(s, Problem{Found: quoteFound(prefix), Message: fmt.Sprintf("it takes the place of the route's path %q", r.Path),
			Expected: "both to end in a slash, or neither"})
	}
	if strings.ContainsAny(prefix, "?#*%") {
		c.at(s, Problem{Found: quoteFound(prefix), Expected: "a path without ?, #, * and %"})
	}
}

func (c *checker) headerEdit(s spot, e HeaderEdit) {
	name := func(at spot, name string) {
		switch {
		case name == "" || !isToken(name):
			c.at(at, Problem{Found: quoteFound(name), Expected: "the name of a header"})
		case framing(name):
			c.at(at, Problem{Found: quoteFound(name), Message: "it belongs to the connection, which is the gateway's own"})
		}
	}
	for i, n := range e.Remove {
		name(s.child("remove").item(i), n)
	}
	for key, values := range map[string]map[string]string{"set": e.Set, "add": e.Add} {
		for _, n := range sortedKeys(values) {
			name(s.child(key).name(n), n)
			if strings.ContainsFunc(values[n], func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) || len(values[n]) > 4096 {
				c.at(s.child(key).child(n), Problem{Expected: "at most 4096 bytes without control characters"})
			}
		}
	}
}

// framing reports whether a header is what tells messages on a connection apart, or names the host: no edit may touch it.
func framing(name string) bool {
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Host":
		return true
	}
	return false
}

// resilience checks what of an inbound concerns load.
func (c *checker) resilience(s spot, v Inbound, service *Service) {
	if p := v.Priority; p != nil {
		if !isToken(p.Header) {
			c.at(s.child("priority").child("header"), Problem{Found: quoteFound(p.Header), Expected: "the name of a header"})
		}
		if v.Adaptive == nil && service != nil && service.Concurrency == 0 {
			c.at(s.child("priority"), Problem{Message: "nothing says when the service is busy", Hint: "say 'adaptive: {}' beside it, or 'concurrency: N' in the service"})
		}
	}
	if v.TryTimeout > 0 && v.Timeout > 0 && v.TryTimeout > v.Timeout {
		c.at(s.child("try_timeout"), Problem{Found: v.TryTimeout.String(), Message: fmt.Sprintf("it is more than timeout (%v)", v.Timeout)})
	}
}
