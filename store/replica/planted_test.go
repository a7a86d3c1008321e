package replica

import (
	"flag"
	"testing"
	"time"
)

var (
	plantedFlag = flag.Int("planted", 0, "how many seeds each planted bug gets; 0: as many as fit into a test run")
	bugFlag     = flag.String("bug", "", "plant this one bug")
)

var allBugs = []struct {
	name  string
	bug   bugs
	focus func(*profile) // for what only few of all profiles could show
}{
	{"skip sync", bugSkipSync, nil},
	{"answer before sync", bugAnswerBeforeSync, nil},
	{"forget vote", bugForgetVote, duels},
	{"forget applied index", bugForgetApplied, nil},
	{"apply twice", bugApplyTwice, nil},
	{"forget token", bugForgetToken, nil},
	{"ignore generation", bugIgnoreGeneration, splits},
	{"read anywhere", bugReadAnywhere, nil},
	{"read at leader", bugReadAtLeader, nil},
	{"read unapplied", bugReadUnapplied, nil},
	{"join round", bugJoinRound, slowLinks},
	{"lease forever", bugLeaseForever, leases},
	{"lease after transfer", bugLeaseAfterTransfer, leases},
	{"vote after restart", bugVoteAfterRestart, leases},
	{"snapshot too new", bugSnapshotTooNew, nil},
	{"snapshot loses rows", bugSnapshotLosesRow, moves},
	{"cut unapplied", bugCutUnapplied, nil},
	{"drop tail", bugDropTail, nil},
	{"split forgets vote", bugSplitForgetsVote, splits},
	{"snapshots overlap", bugSnapshotsOverlap, grows},
	{"resurrect", bugResurrect, nil},
	{"merge loses tail", bugMergeLosesTail, merges},
	{"split loses tokens", bugSplitLosesTokens, splits},
	{"forward twice", bugForwardTwice, doubles},
	{"snapshot loses tokens", bugSnapshotLosesTokens, moves},
	{"leave at once", bugLeaveAtOnce, moves},
	{"forget freeze", bugForgetFreeze, merges},
	{"read early", bugReadEarly, restarts},
}

// The profiles that a kind of mistake can show in are drawn like all others, and then narrowed down.

// duels have two replicas ask the third for its vote again and again, and nothing else.
func duels(p *profile) {
	p.Nodes, p.Faults, p.Jitter, p.Every, p.Quiesce, p.Lease, p.Drift = 3, []string{"duel"}, 150*time.Millisecond, 3*time.Second, -1, false, 0
	p.Drop, p.Duplicate, p.SlowDisk = 0, 0, 0
}

func busy(p *profile) {
	p.Clients, p.Readers, p.Think, p.Timeout = 8, 4, 30*time.Millisecond, 12
}

func splits(p *profile) {
	busy(p)
	p.Keys, p.Faults, p.Every = 6, []string{"split", "transfer", "merge", "cut", "lossy"}, 700*time.Millisecond
}

func merges(p *profile) {
	busy(p)
	p.Keys, p.Faults, p.Every, p.Jitter = 6, []string{"split", "merge", "merge", "one-way", "lossy", "slow-disk", "crash"}, 500*time.Millisecond, 20*time.Millisecond
}

func doubles(p *profile) {
	busy(p)
	p.Keys, p.Duplicate, p.Reorder, p.Jitter = 2, 0.3, 0.3, 20*time.Millisecond
}

// grows gives groups new replicas, and splits them while these are sent what there is.
func grows(p *profile) {
	p.Nodes, p.Keys, p.LogKeep, p.Chunk, p.Every, p.Value, p.Jitter = 5, 6, 8, 64, time.Second, 600, 5*time.Millisecond
	p.Faults = []string{"grow", "grow", "merge"}
}

func slowLinks(p *profile) {
	busy(p)
	p.Keys, p.Jitter, p.Lease, p.Drift, p.Faults = 1, 150*time.Millisecond, false, 0, []string{"slow-disk", "cut"}
}

func leases(p *profile) {
	busy(p)
	p.Keys, p.Jitter, p.Lease, p.Drift, p.Every = 1, 2*time.Millisecond, true, 0.03, 1500*time.Millisecond
	p.Faults = []string{"usurp", "transfer-cut", "isolate"}
}

func moves(p *profile) {
	p.Nodes, p.Keys, p.LogKeep, p.Chunk, p.Every = 5, 6, 8, 64, 600*time.Millisecond
	p.Faults = []string{"member", "split", "isolate", "lossy", "merge"}
}

// restarts has all nodes start anew while replicas come and go.
func restarts(p *profile) {
	busy(p)
	p.Nodes, p.Keys, p.LogKeep, p.Every, p.Quiesce = 3, 6, 1000, time.Second, 5
	p.Faults = []string{"member", "crash", "crash-all", "isolate", "one-way", "duel", "flap"}
}

// TestPlantedBugs makes the replicas commit one mistake at a time, and expects the swarm to notice.
func TestPlantedBugs(t *testing.T) {
	seeds := *plantedFlag
	few := seeds == 0
	if few {
		seeds = 1
	}
	found, tried := 0, 0
	for _, b := range allBugs {
		if *bugFlag != "" && *bugFlag != b.name || few && (b.focus != nil || raceDetector && tried == 6) {
			continue
		}
		tried++
		at, rep := 0, seedReport{}
		for seed := 1; seed <= seeds && at == 0; seed++ {
			p := drawProfile(uint64(seed))
			if b.focus != nil {
				b.focus(&p)
			}
			if rep = runSeed(p, b.bug, func(string, ...any) {}); rep.err != nil {
				at = seed
			}
		}
		if at == 0 {
			t.Logf("%-22s not found in %d seeds", b.name, seeds)
			continue
		}
		found++
		t.Logf("%-22s seed %3d: %.90s", b.name, at, rep.err)
	}
	t.Logf("%d of %d planted bugs found", found, tried)
	if want := tried / 2; found < want { // with few seeds; -planted 200 finds more
		t.Errorf("the swarm found %d planted bugs, it should find %d", found, want)
	}
}
