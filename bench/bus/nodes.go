package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/banyanhq/banyan/bus/audit"
)

// nodes has the auditor work while one of three nodes after the other is killed or stopped; with -leader, the one that leads is killed.
func nodes(o options) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Hour)
	defer cancel()
	secret := filepath.Join(o.dir, "secret")
	if err := os.WriteFile(secret, []byte("none of your business\n"), 0o600); err != nil {
		return err
	}
	shared := []string{"--secret-file", secret, "--queue", "jobs: {durability: replicated, ordered: true, ack_wait: 2s, max_deliver: 4, dead_letter: jobs-dead}"}
	for n := range 3 {
		address, err := freeAddressOf("127.0.0.2") // from where nobody dials, so that it is free as well when a node starts anew
		if err != nil {
			return err
		}
		shared = append(shared, "--peer", fmt.Sprintf("%d=%s", n+1, address))
	}
	begun := time.Now()
	stopped := 12 * time.Second // some of which is longer than followers wait for a leader
	if o.leader {
		stopped = 0
	}
	r, err := audit.ClusterDrive{
		Nodes: 3,
		Command: func(node int, natsAddress, httpAddress string) *exec.Cmd {
			cmd := exec.Command(o.banyan, append([]string{"bus", "--dir", filepath.Join(o.dir, fmt.Sprint("node-", node)), "--node", fmt.Sprint(node),
				"--listen", natsAddress, "--http", httpAddress}, shared...)...)
			cmd.Stderr = os.Stderr
			return cmd
		},
		Kills: o.kills, Life: 2 * time.Second, Away: 6 * time.Second, Stopped: stopped, Leader: o.leader,
		Audit:    audit.Config{Queue: "jobs", Dead: "jobs-dead", Producers: 8, Consumers: 8, KeysEach: 5, PoisonEvery: 23},
		Progress: func(kills int) { fmt.Printf("\r%d of %d", kills, o.kills) },
	}.Run(ctx)
	return tell(r, err, begun)
}
