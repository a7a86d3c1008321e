package gateway

import (
	"net/http"
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// requestParts gives the router what some routes look at in a request. A header of several lines is looked at in its
// first, cookies in all of them.
type requestParts struct{ r *http.Request }

func (p requestParts) Header(name string) (string, bool) {
	if strings.EqualFold(name, "Host") {
		return p.r.Host, true
	}
	values := p.r.Header[http.CanonicalHeaderKey(name)]
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}

func (p requestParts) Cookie(name string) (string, bool) {
	return cookieValue(p.r.Header["Cookie"], name)
}

func (p requestParts) Query(name string) (string, bool) {
	return topology.QueryValue(p.r.URL.RawQuery, name)
}
