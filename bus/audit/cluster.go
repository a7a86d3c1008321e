package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// ClusterDrive says how the nodes of a cluster are killed, one at a time.
type ClusterDrive struct {
	// Nodes of the cluster; Command makes the command of one, from 1, as that of Drive does.
	Nodes   int
	Command func(node int, natsAddress, httpAddress string) *exec.Cmd
	// Kills is how often one is killed, each time after a random time of up to Life, and started again after one of up to Away.
	Kills      int
	Life, Away time.Duration
	// Stopped has every third time be none of the kills, but a stop (SIGSTOP) of up to so long. 0: there are none.
	Stopped time.Duration
	// Leader has it always be the one that leads; otherwise it is any.
	Leader bool
	// Audit is what the auditor does; its URL is filled in.
	Audit Config
	// Progress hears of each kill. Nil: nobody.
	Progress func(kills int)
}

// nodeState is what a node says of one of them.
type nodeState struct {
	Node               int
	Leads, Up, Current bool
}

// Run kills nodes while an auditor works with the cluster, as that of Drive does. A node is killed only when all have all data.
func (d ClusterDrive) Run(ctx context.Context) (Report, error) {
	nodes := make([]*server, d.Nodes)
	defer func() {
		for _, s := range nodes {
			if s != nil {
				s.kill()
			}
		}
	}()
	var urls []string
	for i := range nodes {
		s, err := start(d.Command(i+1, "127.0.0.1:0", "127.0.0.1:0"))
		if err != nil {
			return Report{}, fmt.Errorf("node %d: %w", i+1, err)
		}
		nodes[i] = s
		urls = append(urls, "nats://"+s.nats)
	}
	if _, err := awaitNodes(ctx, nodes[0].http, d.Nodes); err != nil {
		return Report{}, err
	}
	d.Audit.URL = strings.Join(urls, ",")
	a, end, err := work(ctx, d.Audit)
	if err != nil {
		return Report{}, err
	}
	defer end()
	var away, awaited time.Duration
	led := 0
	for killed, turn := 0, 1; killed < d.Kills; turn++ {
		pause(ctx, time.Duration(rand.Int64N(int64(d.Life))))
		begun := time.Now()
		states, err := awaitNodes(ctx, nodes[rand.IntN(d.Nodes)].http, d.Nodes)
		awaited += time.Since(begun)
		if err != nil {
			return a.Report(), err
		}
		victim := rand.IntN(d.Nodes)
		for _, s := range states {
			if d.Leader && s.Leads {
				victim = s.Node - 1
			}
		}
		most, stop := d.Away, d.Stopped > 0 && turn%3 == 0
		if stop {
			most = d.Stopped
		} else {
			killed++
			if states[victim].Leads {
				led++
			}
		}
		gone := time.Duration(rand.Int64N(int64(most)))
		away += gone
		if err := d.hurt(ctx, nodes, victim, gone, stop, a); err != nil {
			return a.Report(), fmt.Errorf("after kill %d: %w", killed, err)
		}
		if d.Progress != nil {
			d.Progress(killed)
		}
	}
	r, err := a.conclude(ctx, d.Life)
	r.Away, r.Awaited, r.Killed, r.Led = away, awaited, d.Kills, led
	return r, err
}

// hurt kills a node, or stops it, and has it come back after a while.
func (d ClusterDrive) hurt(ctx context.Context, nodes []*server, victim int, away time.Duration, stopped bool, a *Auditor) error {
	s := nodes[victim]
	if stopped {
		s.cmd.Process.Signal(syscall.SIGSTOP)
		a.Died()
		pause(ctx, away)
		s.cmd.Process.Signal(syscall.SIGCONT)
		return ctx.Err()
	}
	s.kill()
	a.Died()
	pause(ctx, away)
	next, err := start(d.Command(victim+1, s.nats, s.http))
	if err != nil {
		nodes[victim] = nil
		return err
	}
	nodes[victim] = next
	return ctx.Err()
}

// awaitNodes returns when all nodes are up and have all data.
func awaitNodes(ctx context.Context, address string, want int) ([]nodeState, error) {
	for {
		states, err := askNodes(ctx, address)
		ready, leads := 0, 0
		for _, s := range states {
			if s.Up && s.Current {
				ready++
			}
			if s.Leads {
				leads++
			}
		}
		if err == nil && ready == want && leads == 1 {
			return states, nil
		}
		if pause(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return nil, fmt.Errorf("waiting for all nodes to have all data: %w; they are %+v (%v)", ctx.Err(), states, err)
		}
	}
}

func askNodes(ctx context.Context, address string) (states []nodeState, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/nodes", nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, errors.New(answer.Status)
	}
	return states, json.NewDecoder(answer.Body).Decode(&states)
}
