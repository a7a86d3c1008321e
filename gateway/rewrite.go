package gateway

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// rewrite changes where a request is sent within its service.
type rewrite struct {
	host   string
	prefix string // takes the place of route; empty: it stays
	route  string
	path   *topology.PathRewrite // nil: none
}

func newRewrite(cfg *topology.Rewrite, route string) (*rewrite, error) {
	if cfg == nil {
		return nil, nil
	}
	w := &rewrite{host: cfg.Host, prefix: cfg.Prefix, route: route}
	if cfg.From != "" {
		var err error
		if w.path, err = topology.NewPathRewrite(cfg.From, cfg.To); err != nil {
			return nil, fmt.Errorf("rewrite: %w", err)
		}
	}
	return w, nil
}

// apply changes the address of a request on its way to a backend. What of the path is not changed keeps its encoding.
func (w *rewrite) apply(u *url.URL) {
	escaped := u.EscapedPath()
	switch {
	case w.path != nil:
		path, ok := w.path.Apply(escaped)
		if !ok {
			return
		}
		escaped = path
	case w.prefix != "":
		rest, ok := strings.CutPrefix(escaped, w.route)
		if !ok {
			return // the prefix came encoded
		}
		escaped = w.prefix + rest
	default:
		return
	}
	if path, err := url.PathUnescape(escaped); err == nil && !dotSegments(path) {
		u.Path, u.RawPath = path, escaped
	}
}

// location returns where a redirect sends the client.
func (c *call) location() string {
	v, u := c.rules.redirect, c.r.URL
	path := u.EscapedPath()
	switch {
	case v.Path != "":
		path = (&url.URL{Path: v.Path}).EscapedPath()
	case v.Prefix != "":
		if rest, ok := strings.CutPrefix(path, c.rules.path); ok {
			path = v.Prefix + rest
		}
	}
	// Two slashes at the beginning would be read as the name of another host (RFC 3986, 4.2).
	path = "/" + strings.TrimLeft(path, "/\\")
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	if v.Scheme == "" && v.Host == "" {
		return path
	}
	scheme, host := v.Scheme, v.Host
	if scheme == "" {
		scheme = "http"
		if c.secure() {
			scheme = "https"
		}
	}
	if host == "" {
		host = c.r.Host
	}
	return scheme + "://" + host + path
}

// sendElsewhere answers with the route's redirect.
func (c *call) sendElsewhere() (int, fault) {
	h := c.w.Header()
	h["Location"] = []string{c.location()}
	h["Content-Length"] = []string{"0"}
	h[headerRequestID] = []string{c.requestID}
	c.rules.response.apply(h)
	c.writeWithin(0)
	c.w.WriteHeader(c.rules.redirect.Status)
	return c.rules.redirect.Status, fault{}
}

// headerEdit changes headers. Names are in canonical form.
type headerEdit struct {
	remove []string
	set    http.Header
	add    http.Header
}

func newHeaderEdit(cfg topology.HeaderEdit) *headerEdit {
	if len(cfg.Remove)+len(cfg.Set)+len(cfg.Add) == 0 {
		return nil
	}
	e := &headerEdit{set: http.Header{}, add: http.Header{}}
	for _, name := range cfg.Remove {
		e.remove = append(e.remove, http.CanonicalHeaderKey(name))
	}
	for name, value := range cfg.Set {
		e.set.Set(name, value)
	}
	for name, value := range cfg.Add {
		e.add.Set(name, value)
	}
	return e
}

// apply edits h, whose values others may share.
func (e *headerEdit) apply(h http.Header) {
	if e == nil {
		return
	}
	for _, name := range e.remove {
		delete(h, name)
	}
	maps.Copy(h, e.set)
	for name, values := range e.add {
		h[name] = append(h[name][:len(h[name]):len(h[name])], values...)
	}
}

func (c *call) editAnswer(h http.Header) {
	if c.rules != nil {
		c.rules.response.apply(h)
	}
}
