package replica

import (
	"flag"
	"slices"
	"testing"
	"time"
)

var (
	plantedFlag = flag.Int("planted", 0, "how many seeds each planted bug gets; 0: as many as the swarm runs")
	bugFlag     = flag.String("bug", "", "plant this one bug")
)

var allBugs = []struct {
	name string
	bug  bugs
}{
	{"skip sync", bugSkipSync},
	{"answer before sync", bugAnswerBeforeSync},
	{"forget vote", bugForgetVote},
	{"forget applied index", bugForgetApplied},
	{"apply twice", bugApplyTwice},
	{"forget token", bugForgetToken},
	{"ignore generation", bugIgnoreGeneration},
	{"read anywhere", bugReadAnywhere},
	{"read at leader", bugReadAtLeader},
	{"read unapplied", bugReadUnapplied},
	{"join round", bugJoinRound},
	{"lease forever", bugLeaseForever},
	{"lease after transfer", bugLeaseAfterTransfer},
	{"vote after restart", bugVoteAfterRestart},
	{"snapshot too new", bugSnapshotTooNew},
	{"snapshot loses rows", bugSnapshotLosesRow},
	{"cut unapplied", bugCutUnapplied},
	{"drop tail", bugDropTail},
	{"split forgets vote", bugSplitForgetsVote},
	{"snapshots overlap", bugSnapshotsOverlap},
	{"resurrect", bugResurrect},
	{"merge loses tail", bugMergeLosesTail},
	{"split loses tokens", bugSplitLosesTokens},
	{"forward twice", bugForwardTwice},
	{"snapshot loses tokens", bugSnapshotLosesTokens},
	{"leave at once", bugLeaveAtOnce},
	{"forget freeze", bugForgetFreeze},
	{"read early", bugReadEarly},
	{"stale tokens", bugStaleTokens},
}

// rarely are planted bugs that so many seeds have yet to be seen to find: what they break takes several rare things at once (DESIGN.md).
var rarely = []string{"snapshots overlap"}

// TestPlantedBugs makes the replicas commit one mistake at a time, and expects the swarm to notice, with the seeds that it runs anyway.
func TestPlantedBugs(t *testing.T) {
	seeds := *plantedFlag
	if seeds == 0 {
		if seeds = swarmSeeds; raceDetector {
			seeds = 3
		}
	}
	found, tried, sum, want := 0, 0, 0, 0
	begun := time.Now()
	for i, b := range allBugs {
		rare := slices.Contains(rarely, b.name)
		if *bugFlag != "" && *bugFlag != b.name || raceDetector && i >= 6 || rare && *plantedFlag == 0 {
			continue
		}
		tried++
		if !rare {
			want++
		}
		at, rep, from := 0, seedReport{}, time.Now()
		for seed := 1; seed <= seeds && at == 0; seed++ {
			if rep = runSeed(drawProfile(uint64(seed)), b.bug, func(string, ...any) {}); rep.err != nil {
				at = seed
			}
		}
		if at == 0 {
			t.Logf("%-22s not found in %d seeds, %.1f s", b.name, seeds, time.Since(from).Seconds())
			continue
		}
		found++
		sum += at
		t.Logf("%-22s seed %3d, %4.1f s: %.110s", b.name, at, time.Since(from).Seconds(), rep.err)
	}
	t.Logf("%d of %d planted bugs found, with %d seeds, in %.0f s", found, tried, sum, time.Since(begun).Seconds())
	if found < want {
		t.Errorf("the swarm found %d planted bugs, it should find %d", found, want)
	}
}
