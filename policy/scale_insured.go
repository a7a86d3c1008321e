package policy

import (
	"fmt"
	"math"
	"time"
)

// InsuredConfig of an InsuredScaler.
type InsuredConfig struct {
	// Reactive is the policy that the predictive one has to beat, asked once for each decision about a fleet of its own.
	Reactive func(now time.Duration, u Usage) (int, ScaleReason)
	// Predictive is the other one.
	Predictive PredictiveConfig
	// Hold is the share of the time in which the objective is to hold, from 0 to below 1. Default: 0.995.
	Hold float64
	// Interval that a rate is the mean of. Zero: that between two decisions.
	Interval time.Duration
}

// InsuredScaler follows the predictive policy or the reactive one, by what they would have done on this very traffic.
//
// Both are played side by side, each with a fleet that it would have had. What one costs is its replicas, and for each that
// was missing the price at which holding the objective for just the asked share of the time is the cheapest: Hold/(1-Hold)
// replicas, the newsvendor's critical ratio. What the predictive one saves is summed over blocks as long as a mistake
// lasts, older ones counting less, and is held against the standard deviation of that sum. Until a day has been seen,
// which a forecast of traffic with days needs, the predictive policy has to prove that it is better: it is followed once it
// leads by proofDeviations, after 1/(1-Hold) intervals, and no longer than it leads. From then on it has to be proved worse: it is followed unless
// it is behind by as much, and then again once it leads. Where the day had fewer than leastIntervals, too few to prove
// anything, the larger of the two counts until there are as many.
//
// Replicas that were ordered, should serve by now and do not are missing of both fleets.
type InsuredScaler struct {
	cfg        InsuredConfig
	predictive *PredictiveScaler
	fleets     [2]ImaginedFleet // by ScaleSide
	ordered    ImaginedFleet    // what there would be if all had started that was asked for
	began      bool
	seen       time.Duration // of traffic
	last       time.Duration // decision
	followed   ScaleSide
	doubt      bool          // a day has been seen, in few intervals: the larger of the two counts
	trusted    bool          // its probation is over
	overlap    time.Duration // until when the larger of the two counts, after a change from one to the other
	// what the predictive policy has saved in this block, in all, and the sum of squares, in replica-hours
	block, lead, square float64
	blockEnd            time.Duration
	// what the predictive policy has spent less in this interval, and what was missing of each fleet at worst, for how long
	spent       float64
	missing     [2]int
	booked      time.Duration
	intervalEnd time.Duration
}

const (
	proofDeviations = 2.0
	proofMemory     = 1000.0 // blocks
	probation       = 24 * time.Hour
	leastIntervals  = 100 // before which both count
	defaultHold     = 0.995
)

// ScaleSide is one of the two policies of an InsuredScaler.
type ScaleSide uint8

// The sides.
const (
	SideReactive ScaleSide = iota
	SidePredictive
)

// String returns the side in words.
func (s ScaleSide) String() string {
	if s == SidePredictive {
		return "predictive"
	}
	return "reactive"
}

// ScaleProof says why a side is followed.
type ScaleProof uint8

// The proofs.
const (
	ProofWanting ScaleProof = iota // the predictive policy has to prove that it pays, and has not
	ProofGiven                     // it has
	ProofTrust                     // a day has been seen, and it has not been proved to cost more
	ProofAgainst                   // it has been proved to cost more
	ProofDoubt                     // a day has been seen in few intervals: the larger number counts
	ProofOverlap                   // the side has just changed: the larger number counts until what the other asks for has started
)

// String returns the proof in words.
func (p ScaleProof) String() string {
	switch p {
	case ProofWanting:
		return "the forecast has not proved to pay yet"
	case ProofGiven:
		return "the forecast has proved to pay"
	case ProofTrust:
		return "a day has been seen, and the forecast has not proved to cost more"
	case ProofAgainst:
		return "the forecast has proved to cost more"
	case ProofDoubt:
		return "a day has been seen, but in few intervals: the larger number counts"
	case ProofOverlap:
		return "the side has just changed: the larger number counts until what the other asks for has started"
	}
	return fmt.Sprintf("ScaleProof(%d)", uint8(p))
}

// Moment is what an InsuredScaler decides by.
type Moment struct {
	Now   time.Duration
	Usage Usage
	// Load is the requests a second that fill the replicas as they are filled: those that arrive, or more where another
	// target is nearer. NaN where it is not known, or may be a fault of whoever measured it: then nothing is booked, and the
	// predictive side asks for as many as the reactive one at least, which sees Usage as it is.
	Load    float64
	Outlook Outlook
	// Start is how long a replica takes to serve.
	Start time.Duration
	// Least is how many replicas there are at least, whoever is followed, and LeastWhy what asks for them.
	Least    int
	LeastWhy ScaleReason
}

// InsuredDecision is how many replicas there should be, and by whom.
type InsuredDecision struct {
	Replicas int
	Why      ScaleReason
	// Asked is what each side would choose, by ScaleSide, whatever the least is.
	Asked    [2]int
	Followed ScaleSide
	Proof    ScaleProof
	// Lead is what the predictive side would have saved of late, in replica-hours, those that were missing being priced;
	// Needed is what it has to lead by, or be behind by, for that to prove anything.
	Lead, Needed float64
}

// NewInsuredScaler returns the scaler of a service.
func NewInsuredScaler(cfg InsuredConfig) *InsuredScaler {
	if !(cfg.Hold > 0 && cfg.Hold < 1) {
		cfg.Hold = defaultHold
	}
	s := &InsuredScaler{cfg: cfg, predictive: NewPredictiveScaler(cfg.Predictive)}
	s.cfg.Predictive = s.predictive.cfg // with its defaults
	return s
}

// Aim changes the utilization that the predictive policy aims at.
func (s *InsuredScaler) Aim(utilization float64) { s.predictive.Aim(utilization) }

// Decide returns how many replicas there should be.
func (s *InsuredScaler) Decide(m Moment) InsuredDecision {
	if s.began {
		s.book(m)
	} else {
		s.begin(m)
	}
	s.last = m.Now
	s.ordered.Arrive(m.Now)
	if s.ordered.Total() != m.Usage.Replicas { // someone else scaled it
		s.ordered = NewImaginedFleet(m.Usage.Ready)
		s.ordered.Resize(m.Usage.Replicas, m.Now+m.Start)
	}
	var wanted, asked [2]int
	var reasons [2]ScaleReason
	for side := range s.fleets {
		u := s.own(&s.fleets[side], &m)
		if ScaleSide(side) == SideReactive {
			asked[side], reasons[side] = s.cfg.Reactive(m.Now, u)
		} else {
			u.Requests = m.Load
			asked[side], reasons[side] = s.predictive.Decide(m.Now, u, m.Outlook)
		}
		asked[side], reasons[side] = withinBounds(asked[side], reasons[side], s.cfg.Predictive.Min, s.cfg.Predictive.Max)
		if fault := !(m.Load >= 0); fault && asked[side] < asked[SideReactive] {
			asked[side], reasons[side] = asked[SideReactive], reasons[SideReactive]
		}
		wanted[side] = asked[side]
		if m.Least > wanted[side] {
			wanted[side], reasons[side] = min(m.Least, s.cfg.Predictive.Max), m.LeastWhy
		}
		s.fleets[side].Resize(wanted[side], m.Now+m.Start)
	}
	d := s.choose(m.Now, asked)
	d.Replicas, d.Why = wanted[d.Followed], reasons[d.Followed]
	s.ordered.Resize(d.Replicas, m.Now+m.Start)
	return d
}

// own is the usage that one side's fleet would see.
func (s *InsuredScaler) own(f *ImaginedFleet, m *Moment) Usage {
	f.Arrive(m.Now)
	if f.Total() == 0 && m.Usage.Replicas > 0 { // a request woke it
		*f = NewImaginedFleet(m.Usage.Ready)
		f.Resize(m.Usage.Replicas, m.Now+m.Start)
	}
	u := m.Usage
	u.Replicas, u.Ready = f.Total(), f.Ready()
	if should := s.ordered.Ready(); m.Usage.Ready < should {
		u.Ready = u.Ready * m.Usage.Ready / should
	}
	if u.CPU = 0; u.Ready > 0 {
		u.CPU = m.Usage.CPU * float64(m.Usage.Ready) / float64(u.Ready)
	}
	return u
}

// choose whom to follow, and say why.
func (s *InsuredScaler) choose(now time.Duration, asked [2]int) InsuredDecision {
	d := InsuredDecision{Asked: asked, Followed: s.followed, Lead: s.lead, Needed: s.proof()}
	switch {
	case s.followed == SidePredictive && s.trusted:
		d.Proof = ProofTrust
	case s.followed == SidePredictive:
		d.Proof = ProofGiven
	case s.trusted:
		d.Proof = ProofAgainst
	}
	larger := now < s.overlap || s.doubt
	if !larger {
		return d
	}
	d.Proof = ProofOverlap
	if s.doubt {
		d.Proof = ProofDoubt
	}
	if other := 1 - d.Followed; asked[other] > asked[d.Followed] {
		d.Followed = other
	}
	return d
}

// Restart begins anew with the fleet that there is, keeping what was proved: what came before was a rehearsal.
func (s *InsuredScaler) Restart() {
	s.missing, s.spent, s.booked = [2]int{}, 0, 0
	s.predictive.recent = recommendations{coolDown: s.cfg.Predictive.CoolDown}
	s.began = false
}

func (s *InsuredScaler) begin(m Moment) {
	for side := range s.fleets {
		s.fleets[side] = NewImaginedFleet(m.Usage.Ready)
		s.fleets[side].Resize(m.Usage.Replicas, m.Now+m.Start)
	}
	s.began, s.last = true, m.Now
	s.intervalEnd, s.blockEnd = m.Now+s.cfg.Interval, m.Now+s.blockSpan(m.Start)
}

// blockSpan is as long as a decision has consequences.
func (s *InsuredScaler) blockSpan(start time.Duration) time.Duration {
	return max(start, s.cfg.Predictive.CoolDown, s.cfg.Interval)
}

// mostBooked of the time since the decision before, in intervals: for longer than that nobody looked.
const mostBooked = 2

// book what each would have cost since the last decision, at the load that there was. An interval that a replica was missing
// in at any decision counts as one without it.
func (s *InsuredScaler) book(m Moment) {
	took := max(0, m.Now-s.last)
	if s.cfg.Interval > 0 {
		took = min(took, mostBooked*s.cfg.Interval)
	}
	if m.Load >= 0 && !math.IsInf(m.Load, 0) {
		need := min(s.cfg.Predictive.Need(m.Load), s.cfg.Predictive.Max)
		for side := range s.fleets {
			s.missing[side] = max(s.missing[side], need-s.fleets[side].Ready())
		}
		s.spent += float64(s.fleets[SideReactive].Total()-s.fleets[SidePredictive].Total()) * took.Hours()
		s.booked += took
		s.seen += took
	}
	if m.Now < s.intervalEnd {
		return
	}
	price := s.cfg.Hold / (1 - s.cfg.Hold)
	s.block += s.spent + price*float64(s.missing[SideReactive]-s.missing[SidePredictive])*s.booked.Hours()
	s.missing, s.spent, s.booked = [2]int{}, 0, 0
	s.intervalEnd = m.Now + s.cfg.Interval
	if m.Now >= s.blockEnd {
		s.judge(m.Now, m.Start)
		s.blockEnd = m.Now + s.blockSpan(m.Start)
	}
}

// proof is what the predictive policy has to lead by, or be behind by, for that not to be chance.
func (s *InsuredScaler) proof() float64 { return proofDeviations * math.Sqrt(s.square) }

// witnessed reports whether so many intervals were seen that one without enough replicas was to be expected: before, none missed
// says nothing of a policy that has fewer.
func (s *InsuredScaler) witnessed() bool {
	return s.seen.Seconds() >= s.cfg.Interval.Seconds()/(1-s.cfg.Hold)
}

// judge the policies at the end of a block.
func (s *InsuredScaler) judge(now, start time.Duration) {
	const keep = 1 - 1/proofMemory
	s.lead = keep*s.lead + s.block
	s.square = keep*s.square + s.block*s.block
	s.block = 0
	on, off := s.proof(), 0.0
	over := s.seen >= probation && s.seen >= leastIntervals*s.cfg.Interval
	if over {
		on, off = 0, -s.proof()
	}
	s.doubt = !over && s.seen >= probation && s.lead > -s.proof()
	before := s.followed
	ahead := (over || s.witnessed()) && (s.lead > on || before == SidePredictive && s.lead > off)
	if over && !s.trusted {
		s.trusted, ahead = true, s.lead > off
	}
	s.followed = SideReactive
	if ahead {
		s.followed = SidePredictive
	}
	if s.followed != before {
		s.overlap = now + start
	}
}
