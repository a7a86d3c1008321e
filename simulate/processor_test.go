package simulate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// naiveProcessor does the same in small steps of time: every runnable job gets its share of each step.
type naiveProcessor struct {
	cores, apart float64
	jobs         []*naiveJob
	procs        []naiveProc
}

type naiveJob struct {
	subject int32
	work    float64
	ran     float64 // since its turn began
	done    float64
}

type naiveProc struct {
	quota, left, speed, used float64
	threads                  int
	line                     []*naiveJob // those that run first
	frozen                   bool
}

// running are the jobs that get a share of the cores.
func (p *naiveProc) running() []*naiveJob {
	switch {
	case p.frozen || p.left <= -0.002*float64(p.threads):
		return nil
	case p.threads > 0 && len(p.line) > p.threads:
		return slices.Clone(p.line[:p.threads])
	}
	return slices.Clone(p.line)
}

// busy is how many cores work on so many jobs, on cores of which one is apart or none.
func (n *naiveProcessor) busy(jobs float64) float64 {
	if n.apart == 0 {
		return min(jobs, n.cores)
	}
	return (1-1/n.cores)*min(jobs, n.cores) + jobs/(jobs+n.cores-1)
}

func (n *naiveProcessor) step(t, dt float64) {
	runnable := 0
	for i := range n.procs {
		runnable += len(n.procs[i].running())
	}
	share := dt * n.busy(float64(runnable)) / float64(runnable)
	for i := range n.procs {
		p := &n.procs[i]
		for _, j := range p.running() {
			j.work -= share * p.speed
			j.ran += share * p.speed
			p.used += share
			p.left -= share
			again := j.work > 0 && p.threads > 0 && j.ran >= 0.01
			if j.work > 0 && !again {
				continue
			}
			k := slices.Index(p.line, j)
			p.line = slices.Delete(p.line, k, k+1)
			if j.ran = 0; again {
				p.line = append(p.line, j)
			} else {
				j.done = t + dt
			}
		}
	}
}

func TestProcessorAgainstSmallSteps(t *testing.T) {
	const (
		step   = 5e-6
		end    = 1.5
		period = 0.1
	)
	rng := rand.New(rand.NewPCG(5, 6))
	for round := range 7 {
		cores, apart := []float64{1, 2, 1.5, 4, 2, 1.5, 4}[round], []float64{0, 0, 0, 0, 1, 1, 1}[round]
		p := newProcessor(cores, apart)
		naive := &naiveProcessor{cores: cores, apart: apart}
		quotas := []float64{math.Inf(1), 0.05, 0.02, 0.15}
		for i, q := range quotas {
			threads := []int{0, 0, 1, 2}[(i+round)%4]
			p.add(q, threads)
			naive.procs = append(naive.procs, naiveProc{quota: q, left: q, speed: 1, threads: threads})
		}
		got := map[int32]float64{}
		subject := int32(0)
		nextJob := 0.0
		steps := int(end / step)
		run := func(until int64) {
			for p.nextAt() <= until {
				at := p.nextAt()
				if _, s := p.fire(); s != drained && s != turned {
					got[s] = float64(at) * 1e-9
				}
			}
		}
		for k := range steps {
			now := float64(k) * step
			ns := int64(k) * 5000
			run(ns)
			if k%int(period/step) == 0 {
				for i := range quotas {
					p.refill(ns, int32(i))
					naive.procs[i].left = naive.procs[i].quota + min(0, naive.procs[i].left)
				}
			}
			if k%7919 == 7918 {
				i, on := rng.IntN(4), rng.IntN(3) == 0
				p.setFrozen(ns, int32(i), paused, on)
				naive.procs[i].frozen = on
				i, speed := rng.IntN(4), 0.3+rng.Float64()
				p.setSpeed(ns, int32(i), speed)
				naive.procs[i].speed = speed
			}
			if now >= nextJob {
				nextJob = now + rng.ExpFloat64()*0.01
				i, work := rng.IntN(4), rng.ExpFloat64()*0.012
				p.start(ns, int32(i), work, subject)
				j := &naiveJob{subject: subject, work: work}
				naive.jobs, naive.procs[i].line = append(naive.jobs, j), append(naive.procs[i].line, j)
				subject++
			}
			naive.step(now, step)
		}
		run(int64(end * 1e9))
		p.advance(int64(end * 1e9))
		ended, off := 0, 0
		for _, j := range naive.jobs {
			at, ok := got[j.subject]
			if j.done == 0 || !ok {
				if ok != (j.done != 0) && math.Abs(math.Max(at, j.done)-end) > 0.2 {
					t.Errorf("cores %v: job %d done at %v, want %v", cores, j.subject, at, j.done)
				}
				continue
			}
			ended++
			if math.Abs(at-j.done) > 0.003 {
				off++
			}
		}
		// A job that ends as the quota does may fall on either side of it.
		if off > ended/100 {
			t.Errorf("cores %v: %d of %d jobs ended at another time", cores, off, ended)
		}
		if ended < 50 {
			t.Errorf("cores %v: only %d of %d jobs ended: the test tests little", cores, ended, len(naive.jobs))
		}
		var used float64
		for i := range p.procs {
			p.sync(&p.procs[i])
			used += p.procs[i].used
			if math.Abs(p.procs[i].used-naive.procs[i].used) > 0.02 {
				t.Errorf("cores %v: replica %d used %.4f s, want %.4f", cores, i, p.procs[i].used, naive.procs[i].used)
			}
		}
		if math.Abs(used-p.busy) > 1e-9 {
			t.Errorf("cores %v: replicas used %v, the machine %v", cores, used, p.busy)
		}
	}
}

func TestTournamentFindsTheLeast(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	var tour tournament
	var keys []float64
	for range 3000 {
		if len(keys) < 70 && rng.IntN(20) == 0 || len(keys) == 0 {
			keys = append(keys, math.Inf(1))
			tour.grow(len(keys))
		}
		i := rng.IntN(len(keys))
		keys[i] = float64(rng.IntN(100))
		if rng.IntN(4) == 0 {
			keys[i] = math.Inf(1)
		}
		tour.set(int32(i), keys[i])
		want := math.Inf(1)
		for _, k := range keys {
			want = min(want, k)
		}
		if tour.best() != want || keys[tour.winner()] != want {
			t.Fatalf("best is %v at %d, want %v", tour.best(), tour.winner(), want)
		}
	}
}
