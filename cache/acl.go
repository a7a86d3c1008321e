package cache

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// acl knows the users and what they may do.
type acl struct {
	registry *registry
	users    map[string]*aclUser
	log      []aclDenial // latest first
}

// aclUser may carry out some commands, on some keys and channels.
type aclUser struct {
	name      string
	on        bool
	noPass    bool
	passwords []string // SHA-256, in hexadecimal
	allowed   []bool   // by the command's number
	rules     []string // of commands, as they were given
	keys      []keyPattern
	channels  []string
	allKeys   bool
	allChans  bool
	all       bool // everything is allowed
}

type keyPattern struct {
	pattern     string
	read, write bool
}

type aclDenial struct {
	reason, context, object, user, client string
	at                                    int64 // milliseconds since 1970
	count                                 int
}

// newACL returns one with the default user, who may do everything.
func newACL(r *registry, password string) acl {
	a := acl{registry: r, users: map[string]*aclUser{}}
	u := a.newUser("default")
	for _, rule := range []string{"on", "nopass", "~*", "&*", "+@all"} {
		_ = a.apply(u, rule) // is right
	}
	if password != "" {
		u.setPassword(password)
	}
	a.users["default"] = u
	return a
}

func (a *acl) newUser(name string) *aclUser {
	return &aclUser{name: name, allowed: make([]bool, len(a.registry.all)), rules: []string{"-@all"}}
}

func (u *aclUser) setPassword(p string) {
	u.noPass, u.passwords = false, []string{hashPassword(p)}
}

func hashPassword(p string) string {
	sum := sha256.Sum256([]byte(p))
	return hex.EncodeToString(sum[:])
}

// accepts reports whether a password is one of the user's.
func (u *aclUser) accepts(password string) bool {
	if u.noPass {
		return true
	}
	given, found := []byte(hashPassword(password)), 0
	for _, p := range u.passwords {
		found |= subtle.ConstantTimeCompare(given, []byte(p))
	}
	return found == 1
}

// welcome makes a new client the default user, if that needs no password.
func (a *acl) welcome(c *client) {
	c.user = a.users["default"]
	c.known = c.user.on && c.user.noPass
}

// apply applies one rule to a user.
func (a *acl) apply(u *aclUser, rule string) error {
	lower := strings.ToLower(rule)
	switch lower {
	case "on", "off":
		u.on = lower == "on"
	case "nopass":
		u.noPass, u.passwords = true, nil
	case "resetpass":
		u.noPass, u.passwords = false, nil
	case "allkeys", "~*":
		u.allKeys, u.keys = true, []keyPattern{{"*", true, true}}
	case "resetkeys":
		u.allKeys, u.keys = false, nil
	case "allchannels", "&*":
		u.allChans, u.channels = true, []string{"*"}
	case "resetchannels":
		u.allChans, u.channels = false, nil
	case "allcommands", "+@all":
		a.allow(u, func(*command) bool { return true }, true, "+@all", true)
	case "nocommands", "-@all":
		a.allow(u, func(*command) bool { return true }, false, "-@all", true)
	case "reset":
		*u = *a.newUser(u.name)
	case "sanitize-payload", "skip-sanitize-payload", "clearselectors":
		// There are neither payloads nor selectors.
	default:
		if err := a.applyOther(u, rule, lower); err != nil {
			return err
		}
	}
	u.all = u.allKeys && u.allChans && !slices.Contains(u.allowed, false)
	return nil
}

func (a *acl) applyOther(u *aclUser, rule, lower string) error {
	if rule == "" {
		return errACLSyntax
	}
	rest := rule[1:]
	switch rule[0] {
	case '>':
		if h := hashPassword(rest); !slices.Contains(u.passwords, h) {
			u.passwords = append(u.passwords, h)
		}
		u.noPass = false
	case '#':
		if b, err := hex.DecodeString(rest); err != nil || len(b) != sha256.Size || rest != strings.ToLower(rest) {
			return errACLHash
		}
		u.passwords, u.noPass = append(u.passwords, rest), false
	case '<', '!':
		h := rest
		if rule[0] == '<' {
			h = hashPassword(rest)
		}
		i := slices.Index(u.passwords, h)
		if i < 0 {
			return errACLNoPassword
		}
		u.passwords = slices.Delete(u.passwords, i, i+1)
	case '~':
		return u.addKeys(keyPattern{rest, true, true})
	case '%':
		flags, pattern, ok := strings.Cut(rest, "~")
		p := keyPattern{pattern, strings.ContainsAny(flags, "rR"), strings.ContainsAny(flags, "wW")}
		if !ok || flags == "" || strings.Trim(flags, "rRwW") != "" {
			return errACLSyntax
		}
		return u.addKeys(p)
	case '&':
		if u.allChans {
			return errACLAllChannels
		}
		u.channels = append(u.channels, rest)
	case '+', '-':
		return a.applyCommand(u, lower)
	default:
		return errACLSyntax
	}
	return nil
}

func (u *aclUser) addKeys(p keyPattern) error {
	if u.allKeys {
		return errACLAllKeys
	}
	u.keys = append(u.keys, p)
	u.allKeys = p == keyPattern{"*", true, true}
	return nil
}

// applyCommand applies +command, +command|sub, +@category, and the same with a minus.
func (a *acl) applyCommand(u *aclUser, rule string) error {
	name, allow := rule[1:], rule[0] == '+'
	if category, ok := strings.CutPrefix(name, "@"); ok {
		if !slices.Contains(aclCategories, category) {
			return errACLUnknown
		}
		a.allow(u, func(c *command) bool { return slices.Contains(c.categories(), category) }, allow, rule, false)
		return nil
	}
	group, _, isSub := strings.Cut(name, "|")
	c := a.registry.byName[group]
	if c == nil {
		return errACLUnknown
	}
	if isSub {
		found := false
		a.allow(u, func(c *command) bool { found = found || c.full == name; return c.full == name }, allow, rule, false)
		if !found {
			return errACLUnknown
		}
		return nil
	}
	a.allow(u, func(o *command) bool { return o == c || o.parent == c }, allow, rule, false)
	return nil
}

func (a *acl) allow(u *aclUser, which func(*command) bool, allow bool, rule string, whole bool) {
	for _, c := range a.registry.all {
		if which(c) {
			u.allowed[c.number] = allow
		}
	}
	if whole {
		u.rules = []string{rule}
		return
	}
	u.rules = slices.DeleteFunc(u.rules, func(r string) bool { return r[1:] == rule[1:] })
	u.rules = append(u.rules, rule)
}

// aclError is what is wrong with a rule, as Redis says it.
type aclError string

func (e aclError) Error() string { return string(e) }

const (
	errACLSyntax      aclError = "Syntax error"
	errACLUnknown     aclError = "Unknown command or category name in ACL"
	errACLNoPassword  aclError = "The password you are trying to remove from the user does not exist"
	errACLHash        aclError = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
	errACLAllKeys     aclError = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns"
	errACLAllChannels aclError = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels"
)

// check says why a client may not carry out a command; "": it may.
func (a *acl) check(c *client, cmd *command, args [][]byte) string {
	reason, object, text := a.denies(c.user, cmd, args)
	if reason == "" {
		return ""
	}
	a.deny(c, reason, object)
	return text
}

// denies says what a user may not do of a command: nothing, the command, a key or a channel.
func (a *acl) denies(u *aclUser, cmd *command, args [][]byte) (reason, object, text string) {
	if !u.allowed[cmd.number] {
		return "command", cmd.full, fmt.Sprintf("NOPERM this user has no permissions to run the '%s' command", cmd.full)
	}
	if !u.allKeys {
		for _, i := range cmd.keysOf(args) {
			if !u.mayUse(args[i], cmd) {
				return "key", string(args[i]), "NOPERM this user has no permissions to access one of the keys used as arguments"
			}
		}
	}
	if !u.allChans {
		for _, ch := range channelsOf(cmd, args) {
			exact := cmd.name == "psubscribe"
			if !slices.ContainsFunc(u.channels, func(p string) bool {
				return p == "*" || exact && p == string(ch) || !exact && glob([]byte(p), ch)
			}) {
				return "channel", string(ch), "NOPERM this user has no permissions to access one of the channels used as arguments"
			}
		}
	}
	return "", "", ""
}

// mayUse reports whether a user may use a key for a command.
func (u *aclUser) mayUse(key []byte, cmd *command) bool {
	for _, p := range u.keys {
		if (p.read && p.write || p.read && !cmd.write || p.write && !cmd.read && cmd.writesOnly()) && glob([]byte(p.pattern), key) {
			return true
		}
	}
	return false
}

// writesOnly reports whether a command tells nothing of what was there.
func (c *command) writesOnly() bool {
	switch c.name {
	case "set", "mset", "setex", "psetex", "hset", "hmset", "sadd", "lpush", "rpush", "del", "unlink", "zadd":
		return true
	}
	return false
}

func channelsOf(cmd *command, args [][]byte) [][]byte {
	switch cmd.name {
	case "subscribe", "psubscribe", "ssubscribe":
		return args[1:]
	case "publish", "spublish":
		return args[1:2]
	}
	return nil
}

// deny notes what was denied.
func (a *acl) deny(c *client, reason, object string) {
	c.server.count.denied++
	context := "toplevel"
	if c.tx != nil && c.tx.open {
		context = "multi"
	}
	now := c.server.store.Now()
	for i, d := range a.log {
		if d.reason == reason && d.object == object && d.user == c.user.name && d.context == context && now-d.at < 60_000 {
			d.count++
			a.log = slices.Insert(slices.Delete(a.log, i, i+1), 0, d)
			return
		}
	}
	d := aclDenial{reason: reason, context: context, object: object, user: c.user.name, client: c.describe(), at: now, count: 1}
	a.log = slices.Insert(a.log, 0, d)
	if most := c.server.set.aclLogLen; int64(len(a.log)) > most {
		a.log = a.log[:most]
	}
}

// line describes a user as ACL LIST does.
func (u *aclUser) line() string {
	var b strings.Builder
	b.WriteString("user " + u.name)
	for _, f := range u.flags() {
		b.WriteString(" " + f)
	}
	for _, p := range u.passwords {
		b.WriteString(" #" + p)
	}
	if k := u.keysText(); k != "" {
		b.WriteString(" " + k)
	}
	b.WriteString(" " + u.channelsText(true) + " " + strings.Join(u.rules, " "))
	return b.String()
}

func (u *aclUser) flags() []string {
	flags := []string{"off"}
	if u.on {
		flags[0] = "on"
	}
	if u.noPass {
		flags = append(flags, "nopass")
	}
	return flags
}

func (u *aclUser) keysText() string {
	var all []string
	for _, p := range u.keys {
		switch {
		case p.read && p.write:
			all = append(all, "~"+p.pattern)
		case p.read:
			all = append(all, "%R~"+p.pattern)
		default:
			all = append(all, "%W~"+p.pattern)
		}
	}
	return strings.Join(all, " ")
}

func (u *aclUser) channelsText(reset bool) string {
	var all []string
	if reset && !u.allChans {
		all = append(all, "resetchannels")
	}
	for _, c := range u.channels {
		all = append(all, "&"+c)
	}
	return strings.Join(all, " ")
}

func (a *acl) names() []string { return slices.Sorted(maps.Keys(a.users)) }
