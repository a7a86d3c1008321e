package replica

import (
	"flag"
	"testing"
)

var (
	plantedFlag = flag.Int("planted", 0, "how many seeds each planted bug gets; 0: as many as fit into a test run")
	bugFlag     = flag.String("bug", "", "plant this one bug")
)

var allBugs = []struct {
	name string
	bug  bugs
	slow bool // the swarm needs more seeds than a test run has time for
}{
	{"skip sync", bugSkipSync, false},
	{"answer before sync", bugAnswerBeforeSync, false},
	{"forget vote", bugForgetVote, false},
	{"forget applied index", bugForgetApplied, false},
	{"apply twice", bugApplyTwice, false},
	{"forget token", bugForgetToken, false},
	{"ignore generation", bugIgnoreGeneration, false},
	{"read anywhere", bugReadAnywhere, false},
	{"read at leader", bugReadAtLeader, false},
	{"read unapplied", bugReadUnapplied, false},
	{"join round", bugJoinRound, false},
	{"lease forever", bugLeaseForever, false},
	{"lease after transfer", bugLeaseAfterTransfer, false},
	{"vote after restart", bugVoteAfterRestart, false},
	{"snapshot too new", bugSnapshotTooNew, false},
	{"snapshot loses rows", bugSnapshotLosesRow, false},
	{"cut unapplied", bugCutUnapplied, false},
	{"drop tail", bugDropTail, false},
	{"split forgets vote", bugSplitForgetsVote, false},
	{"snapshots overlap", bugSnapshotsOverlap, false},
	{"resurrect", bugResurrect, false},
}

// TestPlantedBugs makes the replicas commit one mistake at a time, and expects the swarm to notice.
func TestPlantedBugs(t *testing.T) {
	seeds := *plantedFlag
	if seeds == 0 {
		seeds = 60
	}
	found, tried := 0, 0
	for _, b := range allBugs {
		if *bugFlag != "" && *bugFlag != b.name || b.slow && *plantedFlag == 0 {
			continue
		}
		tried++
		at, rep := 0, seedReport{}
		for seed := 1; seed <= seeds && at == 0; seed++ {
			if rep = runSeed(drawProfile(uint64(seed)), b.bug, func(string, ...any) {}); rep.err != nil {
				at = seed
			}
		}
		if at == 0 {
			t.Errorf("%-22s not found in %d seeds", b.name, seeds)
			continue
		}
		found++
		t.Logf("%-22s seed %3d: %.90s", b.name, at, rep.err)
	}
	t.Logf("%d of %d planted bugs found", found, tried)
}
