package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/internal/loopback"
)

// startRedis runs a redis-server until the test ends; the test is skipped where there is none.
func startRedis(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server is installed to compare with")
	}
	l, err := net.Listen("tcp", loopback.Any())
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	host, port, _ := net.SplitHostPort(addr)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "--port", port, "--save", "", "--appendonly", "no", "--loglevel", "warning", "--bind", host)
	cmd.Dir = t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not come up: ", err)
		}
	}
}

// unordered are the commands whose answers may come in any order.
var unordered = []string{"smembers", "sinter", "sunion", "sdiff", "hgetall", "hkeys", "hvals", "keys", "hscan", "sscan", "zscan", "scan", "pubsub"}

// words of commands, joined by _ (a name's own is written -), with letters for what is drawn: k a key, h s l z one that mostly holds that kind, q a sorted set
// whose scores are alike, f a field, v a value,
// n a small number, x a score, r a range's end by score, y by name, i an index, b a bit.
var grammar = strings.Fields(strings.TrimSpace(`
get_k set_k_v set_k_v_nx set_k_v_xx set_k_v_get set_k_v_ex_100 set_k_v_px_n00000 set_k_v_keepttl set_k_v_nx_xx set_k_v_ex_0 set_k_v_ex
set_k_v_nx_get getset_k_v getdel_k getex_k getex_k_ex_100 getex_k_persist getex_k_foo mget_k_k_k mset_k_v_k_v mset_k_v_k msetnx_k_v_k_v
setnx_k_v setex_k_100_v setex_k_0_v psetex_k_100000_v strlen_k append_k_v getrange_k_i_i substr_k_i_i setrange_k_n_v setrange_k_-1_v
incr_k decr_k incrby_k_i decrby_k_i incrbyfloat_k_x set_k_n incr_n incrby_k_9223372036854775807 incrby_k_foo decrby_k_-9223372036854775808
setbit_k_b_1 setbit_k_b_0 setbit_k_b_2 getbit_k_b bitcount_k bitcount_k_i_i bitcount_k_i_i_bit bitpos_k_0 bitpos_k_1 bitpos_k_1_i
bitpos_k_0_i_i bitpos_k_0_i_i_bit bitpos_k_2 bitop_and_k_k_k bitop_or_k_k_k bitop_xor_k_k_k bitop_not_k_k bitop_foo_k_k bitcount_k_i
bitfield_k_get_u4_b bitfield_k_set_i5_b_i_get_u8_0 bitfield_k_incrby_u2_100_1 bitfield_k_overflow_sat_incrby_i8_n_100
bitfield_k_overflow_fail_incrby_u3_n_i bitfield_k_set_u8_#1_i bitfield_k_overflow_sat_set_u4_b_i bitfield_k_get_u64_0 bitfield-ro_k_get_i3_b
bitfield_k_incrby_i64_0_9223372036854775807 bitfield_k_overflow_sat_incrby_i64_n_-9223372036854775808 bitfield_k_overflow_foo bitfield_k_get_i8
del_k del_k_k unlink_k exists_k_k touch_k_k type_k expire_k_100 expire_k_-1 expire_k_100_nx expire_k_100_xx expireat_k_9999999990_gt expireat_k_9999999980_lt
expire_k_50_nx_xx expire_k_50_foo pexpire_k_100000 expireat_k_9999999999 pexpireat_k_9999999999999 expire_k_foo persist_k expiretime_k
ttl_k rename_k_k renamenx_k_k copy_k_k copy_k_k_replace copy_k_k_db_1 move_k_1 dbsize keys_* keys_k*
hset_h_f_v hset_h_f_v_f_v hset_h_f hmset_h_f_v hsetnx_h_f_v hget_h_f hmget_h_f_f_f hdel_h_f hdel_h_f_f hlen_h hstrlen_h_f hexists_h_f hgetall_h
hkeys_h hvals_h hincrby_h_f_i hincrbyfloat_h_f_x hincrby_h_f_foo hscan_h_0 hscan_h_0_count_1000 hrandfield_h_0 hset_k_f_n
sadd_s_v sadd_s_v_v_v srem_s_v srem_s_v_v scard_s sismember_s_v smismember_s_v_v smembers_s smove_s_s_v sinter_s_s sunion_s_s sdiff_s_s_s
sinterstore_s_s_s sunionstore_s_s_s sdiffstore_s_s_s sintercard_2_s_s sintercard_2_s_s_limit_1 sintercard_0_s sintercard_3_s sscan_s_0_count_1000
srandmember_s_0 spop_s_0 spop_s_-1 sadd_k_v
lpush_l_v rpush_l_v lpush_l_v_v_v rpush_l_v_v lpushx_l_v rpushx_l_v lpop_l rpop_l lpop_l_n rpop_l_n lpop_l_-1 llen_l lrange_l_i_i lrange_l_0_-1
lindex_l_i lset_l_i_v linsert_l_before_v_v linsert_l_after_v_v linsert_l_foo_v_v lrem_l_i_v lrem_l_0_v ltrim_l_i_i lpos_l_v lpos_l_v_rank_-1
lpos_l_v_count_0 lpos_l_v_count_2_rank_2 lpos_l_v_rank_0 lpos_l_v_maxlen_2 rpoplpush_l_l lmove_l_l_left_right lmove_l_l_right_left
lmove_l_l_left_foo lmpop_2_l_l_left lmpop_2_l_l_right_count_2 lmpop_0_l_left blpop_l_0.01 brpop_l_l_0.01 blmove_l_l_left_right_0.01
blpop_l_-1 blpop_l_foo lpush_k_v brpoplpush_l_l_0.01 blmpop_0.01_2_l_l_left
zadd_z_x_v zadd_q_0_v zadd_q_0_v_0_v zrem_q_v zadd_z_x_v_x_v zadd_z_nx_x_v zadd_z_xx_x_v zadd_z_gt_x_v zadd_z_lt_ch_x_v zadd_z_ch_x_v zadd_z_incr_x_v zadd_z_nx_xx_x_v
zadd_z_nx_gt_x_v zadd_z_foo_v zadd_z_x zincrby_z_x_v zrem_z_v zrem_z_v_v zcard_z zscore_z_v zmscore_z_v_v zrank_z_v zrevrank_z_v zcount_z_r_r
zlexcount_q_y_y zrange_z_i_i zrange_z_i_i_withscores zrange_z_0_-1_rev_withscores zrange_z_r_r_byscore zrange_z_r_r_byscore_rev
zrange_z_r_r_byscore_limit_1_2 zrange_q_y_y_bylex zrange_z_i_i_limit_0_1 zrange_q_y_y_bylex_withscores zrevrange_z_i_i
zrevrange_z_i_i_withscores zrangebyscore_z_r_r zrangebyscore_z_r_r_withscores_limit_i_i zrevrangebyscore_z_r_r zrangebylex_q_y_y
zrevrangebylex_q_y_y zrangebylex_q_y_y_limit_0_2 zrangestore_z_z_i_i zrangestore_z_z_r_r_byscore zremrangebyrank_z_i_i
zremrangebyscore_z_r_r zremrangebylex_q_y_y zpopmin_z zpopmax_z zpopmin_z_n zpopmax_z_-1 zmpop_2_z_z_min zmpop_1_z_max_count_2
bzpopmin_z_0.01 bzpopmax_z_z_0.01 zscan_z_0_count_1000 zunion_2_z_z zunion_2_z_z_withscores zinter_2_z_z_withscores zdiff_2_z_z_withscores
zunion_2_z_s_weights_2_3_withscores zunion_2_z_z_aggregate_min_withscores zinter_2_z_z_aggregate_max_withscores zunionstore_z_2_z_z
zinterstore_z_2_z_z_weights_1_-1 zdiffstore_z_2_z_z zintercard_2_z_z zintercard_2_z_z_limit_1 zunion_0_z zunion_3_z zadd_k_x_v
sort_l sort_l_alpha sort-ro_l_alpha sort_l_alpha_desc_limit_0_2 sort_s_alpha sort_z_alpha sort_l_store_l_alpha sort_h sort_l_by_nosort_get_k*
multi exec discard watch_k unwatch select_0 select_1 select_0 select_99 echo_v ping ping_v foo_v object_foo object_encoding get get_k_k
config_foo client_foo bitcount scan_foo scan_0_count_1000 scan_0_match_k*_count_1000 scan_0_type_list_count_1000 hscan_h_0_foo
subscribe publish_k_v pubsub_numsub_k pubsub_numpat lrange_l_foo_1 zrange_z_foo_1 zadd_z_nan_v zadd_z_inf_v zincrby_z_-inf_v
`))

// draw draws a word. Ids of streams grow with the step.
func draw(rng *rand.Rand, word string, step int) string {
	pick := func(options ...string) string { return options[rng.IntN(len(options))] }
	n, near := strconv.Itoa(rng.IntN(6)), max(0, step/8-rng.IntN(12))
	if rng.IntN(50) == 0 && len(word) == 1 {
		return pick("", "k1", "foo", "-1", "1.5", " 1", "\xff\r\n", "12345678901234567890123")
	}
	if rng.IntN(30) == 0 && strings.Contains("hslzt", word) {
		word = "k"
	}
	switch word {
	case "t":
		return word + strconv.Itoa(rng.IntN(3))
	case "d":
		return pick("0", fmt.Sprint(near), fmt.Sprint(near, "-0"), fmt.Sprint(near, "-1"))
	case "D":
		return pick(fmt.Sprint(1+step/8, "-*"), fmt.Sprint(1+step/8, "-*"), fmt.Sprint(2+step/8, "-", rng.IntN(2)), fmt.Sprint(near))
	case "e":
		return pick("-", "+", fmt.Sprint("(", near), fmt.Sprint(near), fmt.Sprint(near, "-1"))
	case "g", "c":
		return word + strconv.Itoa(rng.IntN(2))
	case "k", "h", "s", "l", "z", "q":
		return word + n
	case "f":
		return "f" + n
	case "v":
		return pick("a", "b", "c", "1", "2", "10", "-3", "hello", strings.Repeat("x", 60), "3.5")
	case "n":
		return n
	case "n00000":
		return n + "00000"
	case "x":
		return pick("1", "2", "3", "-1", "2.5", "1e3", "0.1", "1e-7", "123456789012", "3.0e20", "inf", "-inf")
	case "r":
		return pick("-inf", "+inf", "1", "(1", "2", "(2.5", "3", "foo")
	case "y":
		return pick("-", "+", "[a", "(a", "[b", "(hello", "a")
	case "i":
		return pick("0", "1", "2", "-1", "-2", "-3", "5", "-100", "100")
	case "b":
		return pick("0", "1", "7", "8", "20", "100", "-1", "foo")
	}
	return word
}

// normal makes answers comparable whose order is not told, or that tell the time.
func normal(args []string, a answer) string {
	if slices.Contains(unordered, args[0]) {
		list := a.all
		if strings.HasSuffix(args[0], "scan") && len(a.all) == 2 {
			list = a.all[1].all
		}
		var parts []string
		if step := map[string]int{"hgetall": 2, "hscan": 2, "zscan": 2, "pubsub": 1}[args[0]]; step == 2 {
			for i := 0; i+1 < len(list); i += 2 {
				parts = append(parts, list[i].String()+"="+list[i+1].String())
			}
		} else {
			for _, v := range list {
				parts = append(parts, v.String())
			}
		}
		if len(list) > 0 {
			slices.Sort(parts)
			return strings.Join(parts, " ")
		}
	}
	if strings.HasPrefix(args[0], "x") || args[0] == "exec" {
		scrub(&a)
	}
	s := a.String()
	if args[0] == "exec" { // what was queued may be in any order
		b := []byte(s)
		slices.Sort(b)
		return string(b)
	}
	return s
}

// tellsTime are the commands whose answers depend on when they come, and on when those before them came.
var tellsTime = []string{"ttl", "expiretime"}

// alike says that two servers answer the same. They get a command one after the other: what they say of the time may differ by what lies between.
func alike(args []string, a, b answer) bool {
	if slices.Contains(tellsTime, args[0]) && a.kind == ':' && b.kind == ':' {
		x, err1 := strconv.Atoi(a.text)
		y, err2 := strconv.Atoi(b.text)
		return err1 == nil && err2 == nil && (x == y || x > 0 && y > 0 && max(x-y, y-x) <= 60)
	}
	return normal(args, a) == normal(args, b)
}

// The same random commands get the same answers from Redis and from this server: values, errors and all.
func TestAnswersAsRedisDoes(t *testing.T) { compareWithRedis(t, grammar) }

func compareWithRedis(t *testing.T, grammar []string) {
	redis := dial(t, startRedis(t))
	ours := dial(t, startServer(t, Config{}).Addr().String())
	runs, length := 6, 1500
	if testing.Short() {
		runs = 5
	}
	wrong := map[string]bool{}
	for seed := range runs {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		for _, c := range []*conn{redis, ours} {
			c.do("discard")
			c.do("unwatch")
			c.do("select", "0")
			c.do("flushall")
		}
		var history []string
		multi := false
		for step := range length {
			var args []string
			for w := range strings.SplitSeq(grammar[rng.IntN(len(grammar))], "_") {
				args = append(args, draw(rng, w, step))
			}
			if args[0] == "" || args[0] == "scan" && args[1] == "-1" {
				continue // where a cursor that nobody was given leads to is anyone's guess
			}
			if multi && slices.Contains(tellsTime, args[0]) {
				continue // in the answer of exec it would be a number among others
			}
			multi = args[0] == "multi" || multi && args[0] != "exec" && args[0] != "discard"
			args[0] = strings.ReplaceAll(args[0], "-", "_")
			redis.send(args...)
			ours.send(args...)
			a, err := readAnswer(redis.r)
			if err != nil {
				t.Fatal("redis: ", err)
			}
			b, err := readAnswer(ours.r)
			if err != nil {
				t.Fatal(err)
			}
			history = append(history, fmt.Sprintf("%q -> %v", args, a))
			if alike(args, a, b) {
				continue
			}
			if !wrong[args[0]] {
				wrong[args[0]] = true
				t.Errorf("seed %d: %q\n redis: %s\n  ours: %s\nbefore:\n  %s", seed, args, normal(args, a), normal(args, b), strings.Join(history[max(0, len(history)-6):], "\n  "))
			}
			break // what follows may differ because of this
		}
	}
}
