package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// hashKey returns what leads equal requests to equal backends; ok is false where the request does not have it.
func (c *walk) hashKey(p parts, on topology.Hash) (key string, ok bool) {
	switch {
	case on.Header != "":
		return p.Header(http.CanonicalHeaderKey(on.Header))
	case on.Cookie != "":
		return p.Cookie(on.Cookie)
	case on.Query != "":
		return p.Query(on.Query)
	case on.Path:
		return p.decodedPath(), true
	}
	return c.client(p.chain()), true
}

// Header implements parts.
func (c *call) Header(name string) (value string, ok bool) {
	if name == "Host" {
		return c.r.Host, true
	}
	values := c.r.Header[name]
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}

// Cookie implements parts.
func (c *call) Cookie(name string) (value string, ok bool) {
	return cookieValue(c.r.Header["Cookie"], name)
}

// Query implements parts.
func (c *call) Query(name string) (value string, ok bool) {
	return topology.QueryValue(c.r.URL.RawQuery, name)
}

func (c *call) decodedPath() string { return c.r.URL.Path }

func (c *call) chain() string {
	if chain := c.header[headerFor]; len(chain) == 1 {
		return chain[0]
	}
	return clientIP(c.r.RemoteAddr)
}

func (c *call) secure() bool {
	return len(c.header[headerProto]) > 0 && c.header[headerProto][0] == "https"
}

// client returns the address of the client: that of the connection, or what trusted proxies and the system's own
// services say of it, as far as the chain can be believed.
func (c *walk) client(chain string) string {
	rest, ip := chain, ""
	for rest != "" {
		i := strings.LastIndexByte(rest, ',')
		ip = strings.TrimSpace(rest[i+1:])
		if !c.g.trusts(ip) && (c.target.edge == nil || !loopback(ip)) {
			break
		}
		rest = rest[:max(i, 0)]
	}
	return ip
}

func loopback(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	return err == nil && addr.Unmap().IsLoopback()
}

// cookieValue returns the first cookie of the name.
func cookieValue(headers []string, name string) (value string, ok bool) {
	for _, line := range headers {
		if value, ok := topology.CookieValue(line, name); ok {
			return value, true
		}
	}
	return "", false
}

// aim sets what of the request decides on its backend.
func (c *walk) aim(p parts) {
	t := c.target
	c.search.Random = rand.Uint64()
	if t.hash != nil {
		c.search.Hash = c.search.Random // without the key, any backend is as good
		if key, ok := c.hashKey(p, *t.hash); ok {
			c.search.Hash = policy.HashString(key)
		}
	}
	if t.sticky != nil {
		if value, ok := p.Cookie(t.sticky.cookie); ok {
			c.search.Prefer, c.search.Bound = t.sticky.open(value)
		}
	}
}

// bind adds the cookie to an answer that binds the client to the backend it came from.
func (c *call) bind(h http.Header) {
	if cookie := c.bindingCookie(c); cookie != "" {
		h["Set-Cookie"] = append(h["Set-Cookie"][:len(h["Set-Cookie"]):len(h["Set-Cookie"])], cookie)
	}
}

// bindingCookie returns the cookie that binds the client to the backend that has answered; empty where it is not to be
// bound, or is to one that is still there: where that is only busy or broken for the moment, it may come back.
func (c *walk) bindingCookie(p parts) string {
	s := c.target.sticky
	if s == nil || c.search.Bound && c.target.lane.pool.Has(c.search.Prefer) {
		return ""
	}
	cookie := http.Cookie{
		Name: s.cookie, Value: s.seal(c.grant.Key), Path: "/", MaxAge: int(s.ttl / time.Second), HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: p.secure(),
	}
	return cookie.String()
}

// sticky makes and reads the cookies that bind clients to backends: the backend's key and an HMAC-SHA256 (RFC 2104) of
// it and the service's name, cut to 128 bits. Without the gateway's secret nobody can choose a backend.
type sticky struct {
	service string
	cookie  string
	ttl     time.Duration
	secret  []byte
}

const (
	stickyKey = 8
	stickyMAC = 16
)

func newSticky(service string, cfg topology.Sticky, secret []byte) *sticky {
	s := &sticky{service: service, cookie: cfg.Cookie, ttl: cfg.TTL.Std(), secret: secret}
	if s.cookie == "" {
		s.cookie = "banyan_" + service
	}
	return s
}

func (s *sticky) sign(key []byte) []byte {
	mac := hmac.New(sha256.New, s.secret)
	mac.Write(key)
	mac.Write([]byte(s.service))
	return mac.Sum(nil)[:stickyMAC]
}

// seal returns the value of a cookie for a backend.
func (s *sticky) seal(key uint64) string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, stickyKey+stickyMAC), key)
	return base64.RawURLEncoding.EncodeToString(append(b, s.sign(b)...))
}

// open returns the key in a cookie's value; ok is false if it is not one of ours.
func (s *sticky) open(value string) (key uint64, ok bool) {
	var b [stickyKey + stickyMAC]byte
	if base64.RawURLEncoding.DecodedLen(len(value)) != len(b) {
		return 0, false
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(value)); err != nil {
		return 0, false
	}
	if !hmac.Equal(b[stickyKey:], s.sign(b[:stickyKey])) {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[:stickyKey]), true
}
