package ui

import (
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// policy of the page: scripts, styles, pictures and connections of this origin alone, nothing inline, no frames.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// secure sets the headers that every answer has.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
}

var (
	errNotLocal = errors.New("only programs on this machine are answered")
	errHost     = errors.New("asked for under a name that is not this machine's: use 127.0.0.1 or localhost")
	errOrigin   = errors.New("asked by a page of another origin")
	errToken    = errors.New("this takes the token: 'banyan ui' prints the address with it")
)

// fromHere returns an error unless a request comes from this machine, asks for it by a name of this machine, and was not
// made by another site's page.
func fromHere(r *http.Request) error {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return errNotLocal
	}
	if !loopbackName(r.Host) {
		return errHost
	}
	return sameOrigin(r)
}

// loopbackName reports whether a Host header names this machine. A page whose name was rebound to 127.0.0.1 sends its own.
func loopbackName(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if strings.EqualFold(name, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Unmap().IsLoopback()
}

// sameOrigin returns an error if a browser says that a page of another origin asks. A person who follows a link to the
// page, or types its address, is no such page.
func sameOrigin(r *http.Request) error {
	site := r.Header.Get("Sec-Fetch-Site")
	visit := r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate"
	if site != "" && site != "same-origin" && site != "none" && !visit {
		return errOrigin
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return errOrigin
	}
	return nil
}

// authorised returns an error unless a request has the token.
func (s *Server) authorised(r *http.Request) error {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || s.cfg.Token == "" || subtle.ConstantTimeCompare([]byte(given), []byte(s.cfg.Token)) != 1 {
		return errToken
	}
	return nil
}
