package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/banyanhq/banyan/bus/audit"
)

// clusterCommand makes the commands of the nodes of a bus, in folders of a folder.
func clusterCommand(t *testing.T, dir string, args ...string) func(node int, natsAddress, httpAddress string) *exec.Cmd {
	t.Helper()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("none of your business\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append(args, "--secret-file", secret)
	for n, address := range freeAddresses(t, 3) {
		args = append(args, "--peer", fmt.Sprintf("%d=%s", n+1, address))
	}
	return func(node int, natsAddress, httpAddress string) *exec.Cmd {
		return aloneCommand(t, filepath.Join(dir, fmt.Sprint("node-", node)), append([]string{"--node", fmt.Sprint(node), "--listen", atOwnHost(natsAddress), "--http", atOwnHost(httpAddress)}, args...)...)
	}
}

// With the node killed that leads, three nodes lose nothing that they acknowledged, keep the order of each key, repeat only what
// was not confirmed, and have each poisonous message become a dead letter exactly once.
func TestKilledNodeLosesNothing(t *testing.T) {
	t.Parallel() // most of the time is that which the others take to find out
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	report, err := audit.ClusterDrive{
		Nodes:   3,
		Command: clusterCommand(t, t.TempDir(), "--queue", "jobs: {durability: replicated, ordered: true, ack_wait: 5s, max_deliver: 20, dead_letter: jobs-dead}"),
		Kills:   1, Life: 500 * time.Millisecond, Away: 500 * time.Millisecond, Leader: true,
		Audit: audit.Config{Queue: "jobs", Dead: "jobs-dead", Producers: 4, Consumers: 4, KeysEach: 3, PoisonEvery: 17},
	}.Run(ctx)
	tellReport(t, report, err)
}
