package gateway

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// loggedLine is what a line of the access log says that does not differ from run to run by design.
func loggedLine(t *testing.T, line string) string {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(line), &all); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	for _, key := range []string{"time", "request_id", "trace_id", "duration_ms", "upstream_ms"} {
		if _, ok := all[key]; ok {
			all[key] = "(set)"
		}
	}
	text, _ := json.Marshal(all)
	return string(text)
}

// What is logged and counted of a request does not depend on the tier that carried it, either.
func TestBothTiersLogAndCountTheSame(t *testing.T) {
	var dirs []string
	tw := startTwins(t, func(s *topology.System) {
		s.Dir = t.TempDir()
		dirs = append(dirs, s.Dir)
		s.AccessLog = &topology.AccessLog{File: "access.log", Format: "json", Sample: 1, Headers: []string{"X-User", "Host", "Connection"}}
		eachInbound(s, func(in *topology.Inbound) {
			in.Balance, in.Hash, in.Sticky = topology.RingHash, &topology.Hash{Cookie: "user"}, &topology.Sticky{}
			in.Retry.Backoff = topology.Duration(time.Microsecond)
		})
	})
	var requests []string
	for _, name := range sortedKeys(answers) {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			if method == "POST" && strings.HasSuffix(name, "!") {
				continue // it may meet the connection that the backend has just closed, and is not repeated
			}
			request := method + " /p?a=" + name + " HTTP/1.1\r\nHost: x\r\nX-User: u\r\nCookie: user=" + name + "\r\nConnection: close\r\n"
			if method == "POST" {
				request += "Content-Length: 3\r\n\r\nabc"
			} else {
				request += "\r\n"
			}
			requests = append(requests, request)
		}
	}
	for _, request := range []string{
		"GET / HTTP/1.0\r\n\r\n", "GET /a/../b HTTP/1.1\r\nHost: x\r\n\r\n", "GET http://y/abs?q HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /a%2fb%20?x=%zz HTTP/1.1\r\nHost: SHOP.example:80\r\nX-User:\r\nConnection: X-User, close\r\n\r\n",
	} {
		requests = append(requests, strings.Replace(request, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
	}
	for _, request := range requests {
		method, _, _ := strings.Cut(request, " ")
		for _, r := range tw.rigs {
			converse(t, r.Addr().String(), request, []string{method}, time.Millisecond)
		}
	}
	var logs [2][]string
	var counts [2]string
	for i, r := range tw.rigs {
		r.stop()
		for _, line := range lines(t, filepath.Join(dirs[i], "access.log")) {
			logs[i] = append(logs[i], loggedLine(t, line))
		}
		s := r.Stats()
		for _, route := range s.Routes {
			counts[i] += fmt.Sprintf("%s: %v, %v\n", route.Route, route.Codes, route.Errors)
		}
		counts[i] += fmt.Sprintf("none: %v, %v", s.Unmatched.Codes, s.Unmatched.Errors)
	}
	if counts[0] != counts[1] {
		t.Errorf("counted\nfast: %s\nfull: %s", counts[0], counts[1])
	}
	for i, tier := range []string{"fast", "full"} {
		for _, line := range logs[i] {
			if !slices.Contains(logs[1-i], line) {
				t.Errorf("logged by the %s tier alone: %s", tier, line)
			}
		}
	}
	if len(logs[0]) != len(logs[1]) {
		t.Errorf("%d lines of the fast tier, %d of the full one", len(logs[0]), len(logs[1]))
	}
}
