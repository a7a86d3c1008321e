package cache

import "strconv"

// trafficCommands are not of Redis: they tell what was seen of the requests.
var trafficCommands = []command{
	{name: "cache.hot", arity: -1, flags: "readonly", run: (*call).hotKeys},
	{name: "cache.curve", arity: 1, flags: "readonly", run: (*call).missCurve},
}

// mostHot keys that are told of at once.
const mostHot = 256

// hotKeys answers with the keys that get most of the requests, up to ten or as many as are asked for: database, key,
// requests a second, share of all, how many other nodes may have a copy of it.
func (k *call) hotKeys() {
	n := 10
	if len(k.args) > 2 {
		k.fail("ERR syntax error")
		return
	}
	if len(k.args) == 2 {
		asked, ok := k.intArg(1)
		if !ok {
			return
		}
		if asked < 1 || asked > mostHot {
			k.failf("ERR count: want 1 to %d", mostHot)
			return
		}
		n = int(asked)
	}
	hot := k.s.hotKeys(n)
	k.array(len(hot))
	for _, h := range hot {
		k.array(5)
		k.int(h.DB)
		k.text(h.Key)
		k.text(strconv.FormatFloat(h.PerSecond, 'f', 1, 64))
		k.text(strconv.FormatFloat(h.Share, 'f', 4, 64))
		k.int(h.Copies)
	}
}

// missCurve answers with what share of the requests a cache with other amounts of memory would answer: bytes, share. It is
// empty where nothing is evicted, or too little was asked for.
func (k *call) missCurve() {
	points := k.s.store.Curve()
	k.array(len(points))
	for _, p := range points {
		k.array(2)
		k.int(int(p.Size * float64(k.s.store.Limit())))
		k.text(strconv.FormatFloat(p.HitRatio, 'f', 4, 64))
	}
}
