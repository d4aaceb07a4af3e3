package command

// maxName is the length of the longest name.
const maxName = 20

// The endpoint's own commands, which no client can name.
const (
	DeleteIfEqual = "holdfast.delifeq" // key value: the script that gives a lock back
	SetIfAbsent   = "holdfast.setexnx" // key seconds value: the script of a cache's add
	HashSetExpire = "holdfast.hsetex"  // key seconds field value …: the script of ASP.NET's cache
	Dump          = "holdfast.dump"    // key: DUMP of a client, see Spec.As
	Leave         = "holdfast.leave"   // key: DEL of a key that has been copied under its new name
	Token         = "holdfast.token"   // key: what WATCH compares, see TokenOf
	Scan          = "holdfast.scan"    // of a partition: see ScanBatch
	Count         = "holdfast.count"   // of a partition: see CountBatch
	Flush         = "holdfast.flush"   // of a partition: see FlushBatch
)

// specs is the table of commands.
var specs = index([]Spec{
	// Strings.
	{Name: "get", Arity: 2, Flags: ReadOnly | Fast, run: (*call).get},
	{Name: "set", Arity: -3, Flags: Write | DenyOOM | idempotent | overwrites, conditions: []string{"nx", "xx", "get"}, run: (*call).set},
	{Name: "setex", Arity: 4, Flags: Write | DenyOOM | idempotent | overwrites, run: (*call).setex},
	{Name: "psetex", Arity: 4, Flags: Write | DenyOOM | idempotent | overwrites, run: (*call).psetex},
	{Name: "setnx", Arity: 3, Flags: Write | DenyOOM | Fast | waits, run: (*call).setnx},
	{Name: "getset", Arity: 3, Flags: Write | DenyOOM | Fast, run: (*call).getset},
	{Name: "getdel", Arity: 2, Flags: Write | Fast | waits, run: (*call).getdel},
	{Name: "getex", Arity: -2, Flags: Write | Fast | idempotent | waits, run: (*call).getex},
	{Name: "mget", Arity: -2, Flags: ReadOnly | Fast, LastKey: -1, run: (*call).mget},
	{Name: "mset", Arity: -3, Flags: Write | DenyOOM | idempotent | overwrites, LastKey: -1, Step: 2, run: (*call).mset},
	{Name: "msetnx", Arity: -3, Flags: Write | DenyOOM | waits, LastKey: -1, Step: 2, run: (*call).msetnx},
	{Name: "append", Arity: 3, Flags: Write | DenyOOM | Fast, run: (*call).appendTo},
	{Name: "strlen", Arity: 2, Flags: ReadOnly | Fast, run: (*call).strlen},
	{Name: "getrange", Arity: 4, Flags: ReadOnly, run: (*call).getrange},
	{Name: "substr", Arity: 4, Flags: ReadOnly, run: (*call).getrange},
	{Name: "setrange", Arity: 4, Flags: Write | DenyOOM | idempotent, run: (*call).setrange},
	{Name: "incr", Arity: 2, Flags: Write | DenyOOM | Fast, run: (*call).incr},
	{Name: "decr", Arity: 2, Flags: Write | DenyOOM | Fast, run: (*call).decr},
	{Name: "incrby", Arity: 3, Flags: Write | DenyOOM | Fast, run: (*call).incrby},
	{Name: "decrby", Arity: 3, Flags: Write | DenyOOM | Fast, run: (*call).decrby},
	{Name: "incrbyfloat", Arity: 3, Flags: Write | DenyOOM | Fast, run: (*call).incrbyfloat},

	// Keys.
	{Name: "del", Arity: -2, Flags: Write | idempotent | overwrites | waits, LastKey: -1, run: (*call).del},
	{Name: "unlink", Arity: -2, Flags: Write | Fast | idempotent | overwrites | waits, LastKey: -1, run: (*call).del},
	{Name: "exists", Arity: -2, Flags: ReadOnly | Fast, LastKey: -1, run: (*call).exists},
	{Name: "touch", Arity: -2, Flags: ReadOnly | Fast, LastKey: -1, run: (*call).exists},
	{Name: "type", Arity: 2, Flags: ReadOnly | Fast, run: (*call).typeOf},
	{Name: "object", Arity: -3, Flags: ReadOnly, FirstKey: 2, LastKey: 2, run: (*call).object},
	{Name: "rename", Arity: 3, Flags: Write | waits, LastKey: 2, run: (*call).rename},
	{Name: "renamenx", Arity: 3, Flags: Write | Fast | waits, LastKey: 2, run: (*call).renamenx},
	{Name: "dump", Arity: 2, Flags: ReadOnly, As: Dump, run: (*call).copyKey},
	{Name: "restore", Arity: -4, Flags: Write | DenyOOM | restores, run: (*call).restore},
	{Name: "restore-asking", Arity: -4, Flags: Write | DenyOOM | restores, run: (*call).restore}, // what MIGRATE of a cluster's node sends
	{Name: "expire", Arity: -3, Flags: Write | Fast | idempotent | timed | renews, conditions: []string{"nx", "xx", "gt", "lt"}, run: (*call).expire},
	{Name: "pexpire", Arity: -3, Flags: Write | Fast | idempotent | timed | renews, conditions: []string{"nx", "xx", "gt", "lt"}, run: (*call).pexpire},
	{Name: "expireat", Arity: -3, Flags: Write | Fast | idempotent | waits, conditions: []string{"nx", "xx", "gt", "lt"}, run: (*call).expireat},
	{Name: "pexpireat", Arity: -3, Flags: Write | Fast | idempotent | waits, conditions: []string{"nx", "xx", "gt", "lt"}, run: (*call).pexpireat},
	{Name: "persist", Arity: 2, Flags: Write | Fast | idempotent | renews, run: (*call).persist},
	{Name: "ttl", Arity: 2, Flags: ReadOnly | Fast, run: (*call).ttl},
	{Name: "pttl", Arity: 2, Flags: ReadOnly | Fast, run: (*call).pttl},
	{Name: "expiretime", Arity: 2, Flags: ReadOnly | Fast, run: (*call).expiretime},
	{Name: "pexpiretime", Arity: 2, Flags: ReadOnly | Fast, run: (*call).pexpiretime},

	// Hashes.
	{Name: "hset", Arity: -4, Flags: Write | DenyOOM | Fast | idempotent, run: (*call).hset},
	{Name: "hmset", Arity: -4, Flags: Write | DenyOOM | Fast | idempotent, run: (*call).hmset},
	{Name: "hsetnx", Arity: 4, Flags: Write | DenyOOM | Fast, run: (*call).hsetnx},
	{Name: "hget", Arity: 3, Flags: ReadOnly | Fast, run: (*call).hget},
	{Name: "hmget", Arity: -3, Flags: ReadOnly | Fast, run: (*call).hmget},
	{Name: "hgetall", Arity: 2, Flags: ReadOnly, run: (*call).hgetall},
	{Name: "hdel", Arity: -3, Flags: Write | Fast | idempotent | waits, run: (*call).hdel},
	{Name: "hexists", Arity: 3, Flags: ReadOnly | Fast, run: (*call).hexists},
	{Name: "hlen", Arity: 2, Flags: ReadOnly | Fast, run: (*call).hlen},
	{Name: "hkeys", Arity: 2, Flags: ReadOnly, run: (*call).hkeys},
	{Name: "hvals", Arity: 2, Flags: ReadOnly, run: (*call).hvals},
	{Name: "hstrlen", Arity: 3, Flags: ReadOnly | Fast, run: (*call).hstrlen},
	{Name: "hincrby", Arity: 4, Flags: Write | DenyOOM | Fast, run: (*call).hincrby},
	{Name: "hincrbyfloat", Arity: 4, Flags: Write | DenyOOM | Fast, run: (*call).hincrbyfloat},
	{Name: "hscan", Arity: -3, Flags: ReadOnly, run: (*call).hscan},

	// Sets.
	{Name: "sadd", Arity: -3, Flags: Write | DenyOOM | Fast | idempotent, run: (*call).sadd},
	{Name: "srem", Arity: -3, Flags: Write | Fast | idempotent | waits, run: (*call).srem},
	{Name: "smembers", Arity: 2, Flags: ReadOnly, run: (*call).smembers},
	{Name: "sismember", Arity: 3, Flags: ReadOnly | Fast, run: (*call).sismember},
	{Name: "smismember", Arity: -3, Flags: ReadOnly | Fast, run: (*call).smismember},
	{Name: "scard", Arity: 2, Flags: ReadOnly | Fast, run: (*call).scard},
	{Name: "spop", Arity: -2, Flags: Write | Fast | waits, run: (*call).spop},
	{Name: "sscan", Arity: -3, Flags: ReadOnly, run: (*call).sscan},

	// Sorted sets.
	{Name: "zadd", Arity: -4, Flags: Write | DenyOOM | Fast, run: (*call).zadd},
	{Name: "zincrby", Arity: 4, Flags: Write | DenyOOM | Fast, run: (*call).zincrby},
	{Name: "zrem", Arity: -3, Flags: Write | Fast | idempotent | waits, run: (*call).zrem},
	{Name: "zscore", Arity: 3, Flags: ReadOnly | Fast, run: (*call).zscore},
	{Name: "zmscore", Arity: -3, Flags: ReadOnly | Fast, run: (*call).zmscore},
	{Name: "zcard", Arity: 2, Flags: ReadOnly | Fast, run: (*call).zcard},
	{Name: "zrank", Arity: 3, Flags: ReadOnly | Fast, run: (*call).zrank},
	{Name: "zrevrank", Arity: 3, Flags: ReadOnly | Fast, run: (*call).zrevrank},
	{Name: "zrange", Arity: -4, Flags: ReadOnly, run: (*call).zrange},
	{Name: "zrevrange", Arity: -4, Flags: ReadOnly, run: (*call).zrevrange},
	{Name: "zrangebyscore", Arity: -4, Flags: ReadOnly, run: (*call).zrangebyscore},
	{Name: "zrevrangebyscore", Arity: -4, Flags: ReadOnly, run: (*call).zrevrangebyscore},
	{Name: "zcount", Arity: 4, Flags: ReadOnly | Fast, run: (*call).zcount},
	{Name: "zremrangebyscore", Arity: 4, Flags: Write | idempotent | waits, run: (*call).zremrangebyscore},
	{Name: "zscan", Arity: -3, Flags: ReadOnly, run: (*call).zscan},

	// The endpoint's own.
	{Name: DeleteIfEqual, Arity: 3, Flags: Write | waits, Internal: true, run: (*call).delifeq},
	{Name: SetIfAbsent, Arity: 4, Flags: Write | DenyOOM | waits, Internal: true, run: (*call).setexnx},
	{Name: HashSetExpire, Arity: -5, Flags: Write | DenyOOM | idempotent | timed, Internal: true, run: (*call).hsetex},
	{Name: Dump, Arity: 2, Flags: ReadOnly, Internal: true, run: (*call).dump},
	{Name: Leave, Arity: 2, Flags: Write | idempotent | overwrites | waits, Internal: true, run: (*call).leave},
	{Name: Token, Arity: 2, Flags: ReadOnly, Internal: true, run: (*call).token},
	{Name: Scan, Arity: 5, Flags: ReadOnly, FirstKey: none, Internal: true, run: (*call).scanKeys},
	{Name: Count, Arity: 1, Flags: ReadOnly, FirstKey: none, Internal: true, run: (*call).countKeys},
	{Name: Flush, Arity: 1, Flags: Write | idempotent | overwrites | waits, FirstKey: none, Internal: true, run: (*call).flushKeys},
})

// none is the FirstKey of a command without keys.
const none = -1

// index completes the table: where a row says nothing else, the first argument
// is its only key.
func index(table []Spec) map[string]*Spec {
	byName := make(map[string]*Spec, len(table))
	for i := range table {
		s := &table[i]
		s.Keyed = s.FirstKey != none
		if s.FirstKey == 0 {
			s.FirstKey = 1
		}
		if s.LastKey == 0 {
			s.LastKey = s.FirstKey
		}
		if s.Step == 0 {
			s.Step = 1
		}
		byName[s.Name] = s
	}
	return byName
}
