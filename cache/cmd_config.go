package cache

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
)

// parameter is a value that CONFIG knows. set returns what is wrong with a value, "" for nothing; nil: it cannot be set.
type parameter struct {
	get func(*Server) string
	set func(s *Server, value string) string
}

func intParameter(field func(*settings) *int64, least int64, parse func(string) (int64, bool)) parameter {
	return parameter{
		get: func(s *Server) string { return strconv.FormatInt(*field(&s.set), 10) },
		set: func(s *Server, value string) string {
			n, ok := parse(value)
			if !ok || n < least {
				return "argument couldn't be parsed into an integer"
			}
			*field(&s.set) = n
			return ""
		},
	}
}

func plainInt(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// parseMemory parses 1024, 64mb and the like.
func parseMemory(s string) (int64, bool) {
	s = strings.ToLower(s)
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"kb", 1 << 10}, {"mb", 1 << 20}, {"gb", 1 << 30}, {"k", 1000}, {"m", 1000_000}, {"g", 1000_000_000}, {"b", 1}} {
		if digits, ok := strings.CutSuffix(s, u.suffix); ok {
			n, ok := plainInt(digits)
			return n * u.bytes, ok && n >= 0 && n < 1<<33
		}
	}
	n, ok := plainInt(s)
	return n, ok && n >= 0
}

// parameters are all that CONFIG knows. What a client library only asks for, and cannot be changed here, has no set.
var parameters = map[string]parameter{
	"maxmemory": {
		get: func(s *Server) string { return strconv.FormatInt(s.set.memory, 10) },
		set: func(s *Server, v string) string {
			n, ok := parseMemory(v)
			if !ok {
				return "argument must be a memory value"
			}
			s.set.memory = n
			s.applyMemory()
			return ""
		},
	},
	"maxmemory-policy": {
		get: func(s *Server) string { return s.set.eviction },
		set: func(s *Server, v string) string {
			v = strings.ToLower(v)
			if _, ok := evictions[v]; !ok {
				return "argument(s) must be one of the following: " + strings.Join(slices.Sorted(maps.Keys(evictions)), ", ")
			}
			s.set.eviction = v
			s.applyMemory()
			return ""
		},
	},
	"notify-keyspace-events": {
		get: func(s *Server) string { return notifyText(s.set.notify) },
		set: func(s *Server, v string) string {
			flags, ok := parseNotify(v)
			if !ok {
				return "Invalid event class character. Use 'Ag$lshzxeKE'."
			}
			s.set.notify = flags
			return ""
		},
	},
	"requirepass": {
		get: func(s *Server) string { return "" },
		set: func(s *Server, v string) string {
			u := s.acl.users["default"]
			if v == "" {
				u.noPass, u.passwords = true, nil
			} else {
				u.setPassword(v)
			}
			return ""
		},
	},
	"client-output-buffer-limit": {
		get: func(s *Server) string {
			return "normal 0 0 0 slave 268435456 67108864 60 pubsub " + strconv.Itoa(s.set.pushHard) + " " + strconv.Itoa(s.set.pushSoft) + " " +
				strconv.FormatInt(s.set.pushSeconds, 10)
		},
		set: setOutputLimit,
	},
	"maxclients": intParameter(func(s *settings) *int64 { return &s.maxClients }, 1, plainInt),
	"timeout":    intParameter(func(s *settings) *int64 { return &s.timeout }, 0, plainInt),

	"slowlog-log-slower-than":   intParameter(func(s *settings) *int64 { return &s.slowerThan }, -1, plainInt),
	"slowlog-max-len":           intParameter(func(s *settings) *int64 { return &s.slowlogLen }, 0, plainInt),
	"latency-monitor-threshold": intParameter(func(s *settings) *int64 { return &s.latency }, 0, plainInt),
	"acllog-max-len":            intParameter(func(s *settings) *int64 { return &s.aclLogLen }, 0, plainInt),
	"tracking-table-max-keys":   intParameter(func(s *settings) *int64 { return &s.trackingMax }, 0, plainInt),
	"proto-max-bulk-len": {
		get: func(s *Server) string { return strconv.Itoa(s.set.maxBulk) },
		set: func(s *Server, v string) string {
			n, ok := parseMemory(v)
			if !ok || n < 1<<20 || n > maxBulk {
				return "argument must be between 1048576 and 536870912 inclusive"
			}
			s.set.maxBulk, s.limits.Bulk = int(n), int(n)
			return ""
		},
	},
	"client-query-buffer-limit": {
		get: func(s *Server) string { return strconv.Itoa(s.set.queryLimit) },
		set: func(s *Server, v string) string {
			n, ok := parseMemory(v)
			if !ok || n < 1<<20 || n > 1<<40 {
				return "argument must be between 1048576 and 1099511627776 inclusive"
			}
			s.set.queryLimit = int(n)
			return ""
		},
	},
	"databases":  {get: func(s *Server) string { return strconv.Itoa(s.store.Databases()) }},
	"appendonly": fromKeeper("no", (*keeper).appendOnly),
	"save":       fromKeeper("", (*keeper).saveRule),
	"dir":        fromKeeper("", func(k *keeper) string { return k.cfg.Dir }),

	"appendfilename":              fromKeeper(appendName, func(*keeper) string { return appendName }),
	"dbfilename":                  fromKeeper(snapshotName, func(*keeper) string { return snapshotName }),
	"auto-aof-rewrite-percentage": fromKeeper("100", func(*keeper) string { return "100" }),
	"auto-aof-rewrite-min-size":   fromKeeper("67108864", func(k *keeper) string { return strconv.FormatInt(k.cfg.Rewrite, 10) }),
	"appendfsync":                 {get: fromKeeper(appendSecond, func(k *keeper) string { return k.policy }).get, set: setFsync},
	"io-threads":                  {get: func(s *Server) string { return strconv.Itoa(s.cfg.Loops) }},
	"port":                        {get: func(s *Server) string { _, port, _ := net.SplitHostPort(s.Addr().String()); return port }},
	"bind":                        {get: func(s *Server) string { host, _, _ := net.SplitHostPort(s.Addr().String()); return host }},
}

// setOutputLimit sets what subscribers may leave unread. Other clients are not read from while they do not read, so that
// they need no limit; theirs is accepted where it is none.
func setOutputLimit(s *Server, v string) string {
	words := strings.Fields(v)
	if len(words)%4 != 0 {
		return "Wrong number of arguments in buffer limit configuration."
	}
	for i := 0; i < len(words); i += 4 {
		hard, ok1 := parseMemory(words[i+1])
		soft, ok2 := parseMemory(words[i+2])
		seconds, ok3 := plainInt(words[i+3])
		if !ok1 || !ok2 || !ok3 || seconds < 0 {
			return "Error in hard, soft or soft_seconds setting in buffer limit configuration."
		}
		switch strings.ToLower(words[i]) {
		case "pubsub":
			s.set.pushHard, s.set.pushSoft, s.set.pushSeconds = int(hard), int(soft), seconds
		case "normal", "replica", "slave":
			if hard != 0 || soft != 0 {
				return "only the limit of pubsub clients can be set here"
			}
		default:
			return "Unrecognized client class in buffer limit configuration."
		}
	}
	return ""
}

func (k *call) configGet() {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if slices.ContainsFunc(k.args[2:], func(p []byte) bool { return glob([]byte(strings.ToLower(string(p))), []byte(name)) }) {
			names = append(names, name)
		}
	}
	k.mapOf(len(names))
	for _, name := range names {
		k.text(name)
		k.text(parameters[name].get(k.s))
	}
}

func (k *call) configSet() {
	if len(k.args)%2 != 0 {
		k.fail(wrongArity(k.cmd))
		return
	}
	seen := map[string]bool{}
	for i := 2; i < len(k.args); i += 2 {
		name := strings.ToLower(k.arg(i))
		p, ok := parameters[name]
		switch {
		case !ok:
			k.failf("ERR Unknown option or number of arguments for CONFIG SET - '%s'", k.args[i])
			return
		case p.set == nil:
			k.failf("ERR CONFIG SET failed (possibly related to argument '%s') - can't set immutable config", name)
			return
		case seen[name]:
			k.failf("ERR CONFIG SET failed (possibly related to argument '%s') - duplicate parameter", name)
			return
		}
		seen[name] = true
	}
	before := k.s.set
	for i := 2; i < len(k.args); i += 2 {
		name := strings.ToLower(k.arg(i))
		if wrong := parameters[name].set(k.s, k.arg(i+1)); wrong != "" {
			k.s.set = before // all or none
			k.s.limits.Bulk = before.maxBulk
			k.s.applyMemory()
			k.failf("ERR CONFIG SET failed (possibly related to argument '%s') - %s", name, wrong)
			return
		}
	}
	k.ok()
}
