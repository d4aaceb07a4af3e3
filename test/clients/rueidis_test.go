package clients

import (
	"fmt"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"
)

// rueidisCluster has DisableCache set: there is no CLIENT TRACKING here.
func rueidisCluster(t *trial) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: t.Addresses(), DisableCache: true})
	require.NoError(t, err)
	defer c.Close()
	ctx := t.ctx
	text := func(cmd rueidis.Completed) string {
		v, err := c.Do(ctx, cmd).ToString()
		require.NoError(t, err)
		return v
	}
	number := func(cmd rueidis.Completed) int64 {
		v, err := c.Do(ctx, cmd).AsInt64()
		require.NoError(t, err)
		return v
	}
	for i := range 30 {
		key := fmt.Sprintf("rueidis-%d", i)
		require.Equal(t, "OK", text(c.B().Set().Key(key).Value("v").ExSeconds(60).Build()))
		require.Equal(t, "v", text(c.B().Get().Key(key).Build()))
		require.EqualValues(t, 60, number(c.B().Ttl().Key(key).Build()))
		require.EqualValues(t, 1, number(c.B().Expire().Key(key).Seconds(100).Build()))
		require.True(t, rueidis.IsRedisNil(c.Do(ctx, c.B().Set().Key(key).Value("w").Nx().ExSeconds(60).Build()).Error()))
		require.EqualValues(t, 1, number(c.B().Del().Key(key).Build()))
	}
	t.did("SET EX, SET NX, GET, TTL, EXPIRE, DEL")

	var cmds rueidis.Commands
	for i := range 100 {
		cmds = append(cmds, c.B().Hset().Key(fmt.Sprintf("rueidis-hash-%d", i)).FieldValue().FieldValue("user", "alice").Build(),
			c.B().Hgetall().Key(fmt.Sprintf("rueidis-hash-%d", i)).Build())
	}
	for i, r := range c.DoMulti(ctx, cmds...) {
		require.NoError(t, r.Error())
		if i%2 == 1 {
			fields, err := r.AsStrMap()
			require.NoError(t, err)
			require.Equal(t, map[string]string{"user": "alice"}, fields)
		}
	}
	t.did("a pipeline of HSET and HGETALL over all nodes")

	script := rueidis.NewLuaScript(`if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end`)
	require.Equal(t, "OK", text(c.B().Set().Key("rueidis-lock").Value("me").Nx().ExSeconds(60).Build()))
	n, err := script.Exec(ctx, c, []string{"rueidis-lock"}, []string{"me"}).AsInt64()
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	t.did("a lock released by EVALSHA")

	err = c.Dedicated(func(d rueidis.DedicatedClient) error {
		rs := d.DoMulti(ctx, d.B().Watch().Key("rueidis-tx").Build(), d.B().Multi().Build(),
			d.B().Set().Key("rueidis-tx").Value("v").Build(), d.B().Get().Key("rueidis-tx").Build(), d.B().Exec().Build())
		answers, err := rs[4].AsStrSlice()
		require.Equal(t, []string{"OK", "v"}, answers)
		return err
	})
	require.NoError(t, err)
	t.did("WATCH, MULTI, EXEC")

	key := t.owned("rueidis-login-", 1)
	require.Equal(t, "OK", text(c.B().Set().Key(key).Value("alice").ExSeconds(60).Build()))
	t.killOwner(key)
	require.Equal(t, "alice", text(c.B().Get().Key(key).Build()))
	require.EqualValues(t, 1, number(c.B().Expire().Key(key).Seconds(3600).Build()))
	require.Equal(t, "OK", text(c.B().Set().Key(key).Value("later").Ex(time.Hour).Build()))
	require.EqualValues(t, 1, number(c.B().Del().Key(key).Build()))
	require.NoError(t, t.Restore(ctx))
	require.True(t, rueidis.IsRedisNil(c.Do(ctx, c.B().Get().Key(key).Build()).Error()))
	t.did("log in, owner killed, still logged in, touch, log out, owner back, stays out")
}
