package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/topology"
	"github.com/banyanhq/banyan/ui"
)

// page returns what makes the page of a system that runs from these files.
func (c *cli) page(files []string) func(*app.App) (app.Page, error) {
	return func(a *app.App) (app.Page, error) {
		token, err := ui.Token(a.Dir())
		if err != nil {
			return nil, err
		}
		cfg := ui.Config{
			System: &pageSystem{App: a, files: files, topics: topicCache{ask: a.Topics}}, Token: token, Version: version(),
			Control: control.Handler(a), ControlOperations: controlOperations(), Features: func() ui.Features {
				return ui.Features{Logs: a.KeepsLogs(), Traces: a.KeepsTraces(), Alerts: a.KeepsMetrics()}
			},
		}
		if a.System().Workload != nil && len(files) > 0 {
			cfg.Loader = &childLoads{files: files, dir: a.Dir()}
		}
		return ui.New(cfg)
	}
}

// controlOperations puts the control API into the terms of its document.
func controlOperations() (all []ui.Operation) {
	for _, o := range control.Operations() {
		op := ui.Operation{Method: o.Method, Path: o.Path, Summary: o.Summary, Body: o.Body, Answer: o.Answer}
		for _, q := range o.Query {
			op.Query = append(op.Query, ui.Param{Name: q[0], About: q[1], Required: true})
		}
		switch {
		case o.Local:
			op.Access = ui.SocketOnly
		case o.Secret:
			op.Access = ui.Guarded
		}
		all = append(all, op)
	}
	return all
}

// pageSystem is a running system as the page sees it.
type pageSystem struct {
	*app.App
	files  []string
	topics topicCache

	mu      sync.Mutex
	planned *topology.System
	of      *topology.System // that planned was made for
	written time.Time        // the calibration, when it was read
	looked  time.Time
	failed  error
}

var _ ui.System = (*pageSystem)(nil)

func (p *pageSystem) Topology() *topology.System { return p.System() }

// calibrationEvery is how often the calibration's file is looked at.
const calibrationEvery = 5 * time.Second

// Planned reads the calibration beside the file when it was written anew.
func (p *pageSystem) Planned() (*topology.System, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sys := p.System()
	if len(p.files) == 0 {
		return sys, nil
	}
	if p.of == sys && time.Since(p.looked) < calibrationEvery {
		return p.planned, p.failed
	}
	p.looked = time.Now()
	file := app.CalibrationFile(p.files[0])
	info, err := os.Stat(file)
	if err != nil { // there is none
		p.planned, p.of, p.failed, p.written = sys, sys, nil, time.Time{}
		return sys, nil
	}
	if p.of == sys && info.ModTime().Equal(p.written) {
		return p.planned, p.failed
	}
	p.of, p.written = sys, info.ModTime()
	p.planned, p.failed = calibrated(sys, file)
	return p.planned, p.failed
}

// calibrated is a system with the demands that a calibration has found. The file itself may have been changed since it
// was loaded: only the calibration is taken from disk.
func calibrated(sys *topology.System, file string) (*topology.System, error) {
	text, err := sys.YAML()
	if err != nil {
		return nil, err
	}
	overlay, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the calibration: %w", err)
	}
	out, err := topology.Parse(topology.Source{Name: "banyan.yaml", Data: text}, topology.Source{Name: file, Data: overlay})
	if err != nil {
		return nil, fmt.Errorf("the calibration does not fit the system: %w", err)
	}
	out.Dir = sys.Dir
	return out, nil
}

// Stores is what caches, queues and topics hold.
func (p *pageSystem) Stores() (all []ui.Store) {
	for _, s := range p.CacheServers() {
		all = append(all, ui.Store{ID: "caches." + s.Cache, Lookups: s.Hits + s.Misses, HitRatio: s.HitRatio, Used: s.Used, Limit: s.Limit})
	}
	for _, q := range p.Queues() {
		all = append(all, ui.Store{ID: "queues." + q.Name, Waiting: int64(q.Ready + q.Delayed), InFlight: int64(q.InFlight), Dead: int64(q.Dead),
			OldestAge: q.OldestAge, Used: q.Bytes, Stored: int64(q.Put), Handled: int64(q.Acked)})
	}
	return append(all, p.topics.stores()...)
}

// childLoads runs load tests as 'banyan load' does, in a process of its own: what the generator uses is then not taken
// for the gateway's.
type childLoads struct {
	files []string
	dir   string
}

var _ ui.Loader = (*childLoads)(nil)
