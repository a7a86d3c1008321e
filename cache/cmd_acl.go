package cache

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

func (k *call) aclList() {
	names := k.s.acl.names()
	k.array(len(names))
	for _, n := range names {
		k.text(k.s.acl.users[n].line())
	}
}

func (k *call) aclCat() {
	switch len(k.args) {
	case 2:
		k.texts(aclCategories)
	case 3:
		category := strings.ToLower(k.arg(2))
		if !slices.Contains(aclCategories, category) {
			k.failf("ERR Unknown category '%s'", k.args[2])
			return
		}
		var names []string
		for _, c := range k.s.registry.all {
			if c.run != nil && slices.Contains(c.categories(), category) {
				names = append(names, c.full)
			}
		}
		k.texts(names)
	default:
		k.fail(wrongArity(k.cmd))
	}
}

func (k *call) aclSetUser() {
	a, name := &k.s.acl, k.arg(2)
	if !plainName(name) {
		k.fail("ERR Usernames can't contain spaces or null characters")
		return
	}
	old := a.users[name]
	u := a.newUser(name)
	if old != nil { // rules are applied to a copy: all or none
		*u = *old
		u.allowed, u.rules = slices.Clone(old.allowed), slices.Clone(old.rules)
		u.passwords, u.keys, u.channels = slices.Clone(old.passwords), slices.Clone(old.keys), slices.Clone(old.channels)
	}
	for i := 3; i < len(k.args); i++ {
		if err := a.apply(u, k.arg(i)); err != nil {
			k.failf("ERR Error in ACL SETUSER modifier '%s': %v", k.args[i], err)
			return
		}
	}
	if old == nil {
		a.users[name] = u
	} else {
		*old = *u // clients hold it
	}
	k.ok()
}

func (k *call) aclGetUser() {
	u := k.s.acl.users[k.arg(2)]
	if u == nil {
		k.null()
		return
	}
	k.mapOf(6)
	k.text("flags")
	flags := u.flags()
	k.setOf(len(flags))
	for _, f := range flags {
		k.text(f)
	}
	k.text("passwords")
	k.texts(u.passwords)
	k.text("commands")
	k.text(strings.Join(u.rules, " "))
	k.text("keys")
	k.text(u.keysText())
	k.text("channels")
	k.text(u.channelsText(false))
	k.text("selectors")
	k.array(0)
}

func (k *call) aclDelUser() {
	n := 0
	for i := 2; i < len(k.args); i++ {
		name := k.arg(i)
		if name == "default" {
			k.fail("ERR The 'default' user cannot be removed")
			return
		}
		u := k.s.acl.users[name]
		if u == nil {
			continue
		}
		delete(k.s.acl.users, name)
		n++
		for _, c := range k.s.clients {
			switch {
			case c.user != u:
			case c == k.c:
				c.closing = true
			default:
				c.kill()
			}
		}
	}
	k.int(n)
}

func (k *call) aclGenPass() {
	bits := int64(256)
	if len(k.args) > 3 {
		k.fail(wrongArity(k.cmd))
		return
	}
	if len(k.args) == 3 {
		var ok bool
		if bits, ok = k.intArg(2); !ok {
			return
		}
		if bits < 1 || bits > 4096 {
			k.fail("ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096")
			return
		}
	}
	b := make([]byte, (bits+7)/8)
	_, _ = rand.Read(b) // never fails
	k.text(hex.EncodeToString(b)[:(bits+3)/4])
}

func (k *call) aclLog() {
	n := int64(10)
	if len(k.args) == 3 {
		if k.is(2, "RESET") {
			k.s.acl.log = nil
			k.ok()
			return
		}
		var ok bool
		if n, ok = k.intArg(2); !ok {
			return
		}
	}
	all := k.s.acl.log[:min(max(int(n), 0), len(k.s.acl.log))]
	k.array(len(all))
	for _, d := range all {
		k.mapOf(7)
		k.text("count")
		k.int(d.count)
		k.text("reason")
		k.text(d.reason)
		k.text("context")
		k.text(d.context)
		k.text("object")
		k.text(d.object)
		k.text("username")
		k.text(d.user)
		k.text("age-seconds")
		k.double(float64(k.s.store.Now()-d.at) / 1000)
		k.text("client-info")
		k.text(d.client)
	}
}

func (k *call) aclDryRun() {
	u := k.s.acl.users[k.arg(2)]
	if u == nil {
		k.failf("ERR User '%s' not found", k.args[2])
		return
	}
	cmd := k.s.registry.find(k.args[3:])
	if cmd == nil {
		k.failf("ERR Command '%s' not found", k.args[3])
		return
	}
	if !cmd.takes(len(k.args) - 3) {
		k.fail(wrongArity(cmd))
		return
	}
	switch reason, object, _ := k.s.acl.denies(u, cmd, k.args[3:]); reason {
	case "":
		k.ok()
	case "command":
		k.text(fmt.Sprintf("This user has no permissions to run the '%s' command", object))
	default:
		k.text(fmt.Sprintf("This user has no permissions to access the '%s' %s", object, reason))
	}
}
