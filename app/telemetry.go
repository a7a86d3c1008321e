package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/banyanhq/banyan/gateway"
	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/logs/elastic"
	"github.com/banyanhq/banyan/observe/logs/loki"
	"github.com/banyanhq/banyan/observe/logs/syslog"
	"github.com/banyanhq/banyan/observe/otlp"
	"github.com/banyanhq/banyan/observe/traces"
	"github.com/banyanhq/banyan/orchestrate"
	"github.com/banyanhq/banyan/topology"
)

// LogsDir and TracesDir are the folders of the logs' and the traces' records in a state directory.
func LogsDir(stateDir string) string   { return filepath.Join(stateDir, "data", "logs") }
func TracesDir(stateDir string) string { return filepath.Join(stateDir, "data", "traces") }

// telemetry is where the system's logs and traces go.
type telemetry struct {
	logs   *logs.Logs     // nil: they are off
	traces *traces.Traces // likewise
	otlp   *otlp.Receiver
	grpc   net.Listener
	syslog *syslog.Server // nil: none is received
	ship   *logs.Ship     // nil: lines are sent nowhere
}

// openTelemetry opens the records and their addresses. A system whose records cannot be read runs without: they must not keep it from
// serving.
func (a *App) openTelemetry() error {
	sys := a.cfg.System
	if a.cfg.GatewayOnly || logsOff(sys) && tracesOff(sys) {
		return nil
	}
	t := &telemetry{}
	if err := t.openStores(a.cfg); err != nil {
		a.cfg.Log.Error("the system runs without its store of logs and traces", "error", err)
		t.close()
		return nil
	}
	if err := t.openAddresses(a.cfg); err != nil {
		t.close()
		return inUse(err, "logs.syslog")
	}
	a.telemetry.Store(t)
	return nil
}

func logsOff(sys *topology.System) bool   { return sys.Logs != nil && sys.Logs.Off }
func tracesOff(sys *topology.System) bool { return sys.Traces != nil && sys.Traces.Off }

func (t *telemetry) openStores(cfg Config) (err error) {
	if !logsOff(cfg.System) {
		if t.logs, err = logs.Open(logsConfig(cfg.System, cfg)); err != nil {
			return err
		}
	}
	if !tracesOff(cfg.System) {
		t.traces, err = traces.Open(tracesConfig(cfg.System, cfg))
	}
	return err
}

func (t *telemetry) openAddresses(cfg Config) (err error) {
	if l := cfg.System.Logs; l != nil && t.logs != nil {
		if l.Syslog != "" {
			if t.syslog, err = syslog.Listen(t.logs, l.Syslog, cfg.Log); err != nil {
				return err
			}
		}
		if l.Engine != "embedded" {
			t.ship = &logs.Ship{Engine: l.Engine, URL: l.URL, System: cfg.System.Name, State: filepath.Join(cfg.Dir, "data", "logs.shipped")}
		}
	}
	if t.grpc, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("opening the address of OTLP: %w", err)
	}
	var r otlp.Receiver
	if t.logs != nil {
		r.Logs, r.BadRequest = t.logs.Export, t.logs.BadRequest
	}
	if t.traces != nil {
		r.Traces = t.traces.Export
	}
	t.otlp = otlp.New(r)
	return nil
}

func logsConfig(sys *topology.System, cfg Config) logs.Config {
	c := logs.Config{Dir: LogsDir(cfg.Dir), Log: cfg.Log}
	l := sys.Logs
	if l == nil {
		return c
	}
	c.Retain, c.MaxBytes, c.MaxLine, c.Rate = l.Retain.Std(), int64(l.MaxSize), int(l.MaxLine), max(1, int(l.Rate))
	for _, name := range l.Redact {
		c.Redact = append(c.Redact, logs.Redaction{Name: name})
	}
	for _, name := range slices.Sorted(maps.Keys(l.RedactPatterns)) {
		c.Redact = append(c.Redact, logs.Redaction{Name: name, Pattern: l.RedactPatterns[name]})
	}
	return c
}

func tracesConfig(sys *topology.System, cfg Config) traces.Config {
	c := traces.Config{Dir: TracesDir(cfg.Dir), Log: cfg.Log}
	t := sys.Traces
	if t == nil {
		return c
	}
	c.Retain, c.MaxBytes, c.Wait = t.Retain.Std(), int64(t.MaxSize), t.Wait.Std()
	none := func(v float64) float64 { // what the file says is 0 is none, not the default
		if v == 0 {
			return -1
		}
		return v
	}
	c.Sampling = traces.Sampling{Share: none(float64(t.Share)), Few: none(float64(t.Few))}
	return c
}

// unsupportedLogs says which rules for logs of a valid file cannot be kept: a system that cannot redact must not run as if it did.
func unsupportedLogs(sys *topology.System) (parts []string) {
	l := sys.Logs
	if l == nil {
		return nil
	}
	if err := logs.CheckRedactions(logsConfig(sys, Config{}).Redact); err != nil {
		parts = append(parts, "logs.redact: "+err.Error())
	}
	if l.Engine != "embedded" && l.URL == "" {
		parts = append(parts, "logs.engine "+l.Engine+": needs a url")
	}
	return parts
}

// close gives up what was opened and never run.
func (t *telemetry) close() {
	if t.logs != nil {
		_ = t.logs.Close()
	}
	if t.traces != nil {
		_ = t.traces.Close()
	}
	if t.grpc != nil {
		_ = t.grpc.Close()
	}
	if t.syslog != nil {
		t.syslog.Close()
	}
}

// run keeps logs and traces until ctx ends.
func (t *telemetry) run(ctx context.Context, g *gateway.Gateway) error {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(otlp.MaxBody))
	t.otlp.Register(server)
	var group errgroup.Group
	if t.logs != nil {
		group.Go(func() error { return t.logs.Run(ctx) })
	}
	if t.traces != nil {
		group.Go(func() error { return t.traces.Run(ctx) })
		group.Go(func() error { return watchGateway(ctx, g, t.traces) })
	}
	if t.syslog != nil {
		group.Go(func() error { return t.syslog.Run(ctx) })
	}
	if t.ship != nil {
		group.Go(func() error { return t.logs.Ship(ctx, *t.ship) })
	}
	group.Go(func() error {
		stop := context.AfterFunc(ctx, server.Stop)
		defer stop()
		if err := server.Serve(t.grpc); err != nil && !errors.Is(err, grpc.ErrServerStopped) && ctx.Err() == nil {
			return fmt.Errorf("serving OTLP: %w", err)
		}
		return nil
	})
	return group.Wait()
}

// mount serves the protocols of logs and traces.
func (t *telemetry) mount(mux *http.ServeMux) {
	t.otlp.Mount(mux)
	if t.logs != nil {
		l := loki.New(t.logs)
		mux.Handle("/loki/", l)
		mux.Handle("/ready", l)
		mux.Handle("/elastic/", http.StripPrefix("/elastic", elastic.New(t.logs)))
		mux.Handle("/logs/", t.logs.Handler("/logs"))
	}
	if t.traces != nil {
		mux.Handle("/jaeger/", http.StripPrefix("/jaeger", t.traces.Jaeger()))
		mux.Handle("/traces/", t.traces.Handler("/traces"))
	}
}

// KeepsLogs and KeepsTraces report whether they are kept.
func (a *App) KeepsLogs() bool {
	t := a.telemetry.Load()
	return t != nil && t.logs != nil
}

func (a *App) KeepsTraces() bool {
	t := a.telemetry.Load()
	return t != nil && t.traces != nil
}

// telemetryURL is where services send logs and traces, empty if nowhere.
func (a *App) telemetryURL() string {
	if a.telemetry.Load() == nil {
		return ""
	}
	return a.adminURL()
}

// telemetryEndpoints says, for people, where logs and traces are.
func (a *App) telemetryEndpoints() []string {
	url := a.telemetryURL()
	if url == "" {
		return nil
	}
	what, from := []string{}, []string{}
	if a.KeepsLogs() {
		what, from = append(what, "logs"), append(from, "Loki on "+url, "Elasticsearch on "+url+"/elastic")
	}
	if a.KeepsTraces() {
		what, from = append(what, "traces"), append(from, "Jaeger on "+url+"/jaeger")
	}
	all := []string{
		strings.Join(what, " and ") + ": OTLP on " + url + " and grpc " + a.telemetry.Load().grpc.Addr().String(),
		"for Grafana: " + strings.Join(from, ", "),
	}
	if s := a.telemetry.Load().syslog; s != nil {
		all = append(all, "syslog on "+s.Addr().String()+" (udp and tcp)")
	}
	return all
}

// telemetryEnviron tells a replica's OpenTelemetry SDK where to send, unless whoever started the system has said so.
func (a *App) telemetryEnviron(service, replica string) []string {
	url := a.telemetryURL()
	if url == "" || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" {
		return nil
	}
	env := []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + url, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
		"OTEL_SERVICE_NAME=" + service, "OTEL_RESOURCE_ATTRIBUTES=service.instance.id=" + replica,
	}
	if !a.KeepsLogs() {
		env = append(env, "OTEL_LOGS_EXPORTER=none")
	}
	if !a.KeepsTraces() {
		env = append(env, "OTEL_TRACES_EXPORTER=none")
	}
	return env
}

// output is what gets a replica's lines besides its log file.
func (a *App) output(service, replica string) orchestrate.Output {
	if a.KeepsLogs() {
		return a.telemetry.Load().logs.Source(service, replica)
	}
	return nil
}

// telemetryCollector shows the counters of logs and traces once they are open. What it describes is not known before.
type telemetryCollector struct{ app *App }

func (telemetryCollector) Describe(chan<- *prometheus.Desc) {}

func (c telemetryCollector) Collect(ch chan<- prometheus.Metric) {
	if t := c.app.telemetry.Load(); t != nil {
		if t.logs != nil {
			t.logs.Collector().Collect(ch)
		}
		if t.traces != nil {
			t.traces.Collector().Collect(ch)
		}
	}
}

const (
	gatewayEvery = 250 * time.Millisecond // between two looks at what the gateway remembers
	gatewayLimit = 250                    // requests taken at a look, so that traces cost a busy gateway nothing that counts
)

// watchGateway makes spans of the requests that the gateway remembers, off their way: a system whose services know nothing of
// traces has these.
func watchGateway(ctx context.Context, g *gateway.Gateway, t *traces.Traces) error {
	tick := time.NewTicker(gatewayEvery)
	defer tick.Stop()
	var cursor gateway.Cursor
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var ended []gateway.Ended
		ended, cursor = g.Ended(cursor, gatewayLimit)
		for i := range ended {
			t.AddOuter(outerSpan(&ended[i]))
		}
	}
}

// outerSpan is a request as the gateway saw it. Services pass the request's id on, so that all calls for a request share it.
func outerSpan(e *gateway.Ended) traces.Outer {
	attrs := map[string]string{"http.request.method": e.Method, "url.path": e.Path, "http.response.status_code": fmt.Sprint(e.Status), "banyan.route": e.Route, "banyan.request_id": e.RequestID}
	if e.Attempts > 1 {
		attrs["banyan.attempts"] = fmt.Sprint(e.Attempts)
	}
	s := &traces.Span{
		TraceID: e.TraceID, SpanID: traces.SpanIDOf(fmt.Sprint(e.RequestID, " ", e.From, " ", e.To, " ", e.Start.UnixNano())), Service: traces.Gateway, Name: e.Route, Kind: "server", Start: e.Start.UnixNano(),
		Duration: int64(e.Took), Error: e.Status >= 500 || e.Error != "", Message: cmp.Or(e.Detail, e.Error), Attrs: attrs,
	}
	for _, try := range e.Tries {
		name := "tried " + try.Backend
		if try.Backend == "" {
			name = "found no backend"
		}
		event := traces.Event{Time: e.Start.Add(try.After).UnixNano(), Name: name}
		if try.Verdict != "" {
			event.Attrs = map[string]string{"verdict": try.Verdict}
		}
		s.Events = append(s.Events, event)
	}
	return traces.Outer{Span: s, From: e.From, To: e.To}
}
