package cache

import (
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/cache/keyspace"
)

// notifyClass is a class of keyspace events, as in notify-keyspace-events.
type notifyClass uint32

const (
	classKeyspace notifyClass = 1 << iota
	classKeyevent
	classGeneric
	classString
	classList
	classSet
	classHash
	classSortedSet
	classExpired
	classEvicted
	classStream

	classAll = classGeneric | classString | classList | classSet | classHash | classSortedSet | classExpired | classEvicted | classStream
)

const classLetters = "KEg$lshzxet"

// parseNotify reads the value of notify-keyspace-events.
func parseNotify(s string) (uint32, bool) {
	var flags notifyClass
	for _, c := range s {
		if c == 'A' {
			flags |= classAll
			continue
		}
		i := strings.IndexRune(classLetters, c)
		if i < 0 {
			return 0, false
		}
		flags |= 1 << i
	}
	return uint32(flags), true
}

func notifyText(flags uint32) string {
	var b strings.Builder
	if notifyClass(flags)&classAll == classAll {
		b.WriteByte('A')
		flags &^= uint32(classAll)
	}
	for i, c := range classLetters {
		if flags&(1<<i) != 0 {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// notifyEvent publishes what has happened to a key, if that is wanted.
func (s *Server) notifyEvent(db int, class notifyClass, event string, key []byte) {
	flags := notifyClass(s.set.notify)
	if flags&class == 0 {
		return
	}
	if flags&classKeyspace != 0 {
		s.publish(channels, "__keyspace@"+strconv.Itoa(db)+"__:"+string(key), []byte(event))
	}
	if flags&classKeyevent != 0 {
		s.publish(channels, "__keyevent@"+strconv.Itoa(db)+"__:"+event, key)
	}
}

// gone is told by the store of a key that expires or is evicted.
func (s *Server) gone(db int, key []byte, why keyspace.Reason) {
	s.keyChanged(db, key, nil)
	switch why {
	case keyspace.Expired:
		s.notifyEvent(db, classExpired, "expired", key)
	case keyspace.Evicted:
		s.notifyEvent(db, classEvicted, "evicted", key)
	}
}
