package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/observe/monitor"
)

// The admin address has the metrics of this process, Prometheus's API, logs and traces, and the page.

// serveMetrics answers on the admin address until ctx ends.
func (a *App) serveMetrics(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.observer.Handler())
	if t := a.telemetry.Load(); t != nil {
		t.mount(mux)
	}
	if !a.KeepsLogs() {
		mux.Handle("/logs/", notKept("logs"))
	}
	if !a.KeepsTraces() {
		mux.Handle("/traces/", notKept("traces"))
	}
	mux.Handle("/", a.rest())
	// Nor do pages of other sites change anything: a browser says where a request comes from.
	srv := &http.Server{Handler: ownNames(a.metrics.Addr(), http.NewCrossOriginProtection().Handler(monitor.Timely(mux))), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		srv.Close()
	}()
	err := srv.Serve(a.metrics)
	handedOver := a.parted.Load() && errors.Is(err, net.ErrClosed)
	if !errors.Is(err, http.ErrServerClosed) && !handedOver {
		return err
	}
	<-done
	return nil
}

// notKept answers in the place of what is off, or could not be opened.
func notKept(what string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, "{\"error\":\"this system keeps no %s: see '%s' in its file, and its log\"}\n", what, what)
	})
}

// rest answers what nothing else on the admin address does: Prometheus's API where it has the path, and the page.
func (a *App) rest() http.Handler {
	var page http.Handler = http.NotFoundHandler()
	if a.page != nil {
		page = a.page
	}
	m := a.monitor.Load()
	if m == nil {
		return page
	}
	metrics := m.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := m.Mux().Handler(r); pattern != "" {
			metrics.ServeHTTP(w, r)
			return
		}
		page.ServeHTTP(w, r)
	})
}

// pageAPI is nil where there is no page.
func (a *App) pageAPI() http.Handler {
	if a.page == nil {
		return nil
	}
	return a.page.API()
}

// ownNames refuses requests to a loopback address that name another host: so ask pages of other sites that have had their
// own name lead here (DNS rebinding), to read what only this machine should.
func ownNames(addr net.Addr, next http.Handler) http.Handler {
	if tcp, ok := addr.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopbackName(r.Host) {
			http.Error(w, "asked for under a name that is not this machine's: use 127.0.0.1 or localhost", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// loopbackName reports whether a Host field names this machine to itself.
func loopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

// adminURL is where programs on this machine find the admin address, whatever it is bound to; without a / at its end.
func (a *App) adminURL() string {
	if a.metrics == nil {
		return ""
	}
	addr := a.metrics.Addr()
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return "http://" + addr.String()
}

// monitorURL is where Prometheus's API is answered, empty where no metrics are kept.
func (a *App) monitorURL() string {
	if a.monitor.Load() == nil {
		return ""
	}
	return a.adminURL()
}

// pageURL is where the page is, empty where there is none.
func (a *App) pageURL() string {
	if a.page == nil {
		return ""
	}
	return a.adminURL() + "/"
}
