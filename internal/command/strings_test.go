package command

import "testing"

func TestStrings(t *testing.T) {
	newRedis(t).exchanges(t, `
		GET k -> $-1
		SET k v -> +OK
		get k -> $1 v
		SET k w NX -> $-1
		SET k w XX GET -> $1 v
		SET k w NX GET -> $1 w
		SET n x XX -> $-1
		SET n x XX GET -> $-1
		SET k w EX -> -ERR syntax error
		SET k w EX 0 -> -ERR invalid expire time in 'set' command
		SET k w EX a -> -ERR value is not an integer or out of range
		SET k w EX 9223372036854775807 -> -ERR invalid expire time in 'set' command
		SET k w EX 1 PX 1 -> -ERR syntax error
		SET k w NX XX -> -ERR syntax error
		SET k w KEEPTTL EX 1 -> -ERR syntax error
		SET k w EX 10 -> +OK
		PTTL k -> :10000
		SET k x KEEPTTL -> +OK
		TTL k -> :10
		SET k x -> +OK
		TTL k -> :-1
		SET k x get px 1500 xx -> $1 x
		TTL k -> :2
		SET k x PXAT 1700000005000 -> +OK
		EXPIRETIME k -> :1700000005
		SET k x EXAT 1700000005 -> +OK
		PEXPIRETIME k -> :1700000005000
		SET past x PXAT 1 -> +OK
		GET past -> $-1
		SETEX k 5 v -> +OK
		PSETEX k 5 v -> +OK
		SETEX k 0 v -> -ERR invalid expire time in 'setex' command
		PTTL k -> :5
		SETNX k v -> :0
		SETNX free v -> :1
		GETSET k new -> $1 v
		TTL k -> :-1
		GETDEL k -> $3 new
		GETDEL k -> $-1
		APPEND k ab -> :2
		APPEND k ~ -> :2
		APPEND k cd -> :4
		STRLEN k -> :4
		GETRANGE k 1 -2 -> $2 bc
		GETRANGE k 3 1 -> $0 
		GETRANGE k -100 100 -> $4 abcd
		GETRANGE none 0 -1 -> $0 
		SETRANGE k 1 XY -> :4
		GET k -> $4 aXYd
		SETRANGE k -1 a -> -ERR offset is out of range
		SETRANGE none 5 ~ -> :0
		EXISTS none -> :0
		GETEX k EX 100 -> $4 aXYd
		TTL k -> :100
		GETEX k PERSIST -> $4 aXYd
		TTL k -> :-1
		GETEX k NX -> -ERR syntax error
	`)
}

func TestMissingAndOtherKinds(t *testing.T) {
	r := newRedis(t)
	r.exchanges(t, `
		HSET h f v -> :1
		GET h -> -WRONGTYPE Operation against a key holding the wrong kind of value
		SET h v GET -> -WRONGTYPE Operation against a key holding the wrong kind of value
		INCR h -> -WRONGTYPE Operation against a key holding the wrong kind of value
		APPEND h v -> -WRONGTYPE Operation against a key holding the wrong kind of value
		SADD h v -> -WRONGTYPE Operation against a key holding the wrong kind of value
		ZADD h 1 v -> -WRONGTYPE Operation against a key holding the wrong kind of value
		SET h v -> +OK
		HSET h f v -> -WRONGTYPE Operation against a key holding the wrong kind of value
		HGET h f -> -WRONGTYPE Operation against a key holding the wrong kind of value
		MGET h -> *1 $1 v
		SET k -> -ERR wrong number of arguments for 'set' command
	`)
}

func TestIntegers(t *testing.T) {
	newRedis(t).exchanges(t, `
		INCR n -> :1
		INCRBY n 10 -> :11
		DECR n -> :10
		DECRBY n 3 -> :7
		DECRBY n -9223372036854775808 -> -ERR decrement would overflow
		SET n 9223372036854775807 EX 100 -> +OK
		INCR n -> -ERR increment or decrement would overflow
		DECR n -> :9223372036854775806
		TTL n -> :100
		INCRBY n x -> -ERR value is not an integer or out of range
		SET n 01 -> +OK
		INCR n -> -ERR value is not an integer or out of range
		SET n ~ -> +OK
		INCR n -> -ERR value is not an integer or out of range
		SET f 10.50 -> +OK
		INCRBYFLOAT f 0.1 -> $4 10.6
		INCRBYFLOAT f 5e3 -> $6 5010.6
		INCRBYFLOAT f nan -> -ERR value is not a valid float
		INCRBYFLOAT f inf -> -ERR increment would produce NaN or Infinity
		SET f x -> +OK
		INCRBYFLOAT f 1 -> -ERR value is not a valid float
	`)
}

func TestManyKeysOfOnePartition(t *testing.T) {
	r := newRedis(t)
	r.exchanges(t, `
		MSET {a}1 x {a}2 y -> +OK
		MGET {a}1 {a}3 {a}2 -> *3 $1 x $-1 $1 y
		MSETNX {a}3 z {a}1 z -> :0
		MSETNX {a}3 z {a}4 z -> :1
		MSET {a}1 x {a}2 -> -ERR wrong number of arguments for 'mset' command
		EXISTS {a}1 {a}1 {a}9 -> :2
		TOUCH {a}1 {a}9 -> :1
		DEL {a}1 {a}2 {a}9 -> :2
		UNLINK {a}3 {a}3 -> :1
		MGET {a}1 {b}1 -> -CROSSSLOT Keys in request don't hash to the same slot
	`)
}
