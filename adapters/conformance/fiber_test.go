package conformance

import (
	"fmt"
	"net/http"
	"testing"
	"time"
	"unsafe"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"
	fibersession "github.com/gofiber/fiber/v3/middleware/session"
	"github.com/stretchr/testify/require"

	holdfastfiber "github.com/seed-95a32959/holdfast/adapters/fiber"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/session"
)

var _ fiber.Storage = (*holdfastfiber.Storage)(nil)

func fiberApp(p pause) func(*node.Sessions) http.Handler {
	return func(sessions *node.Sessions) http.Handler {
		store := fibersession.NewStore(fibersession.Config{Storage: holdfastfiber.New(sessions)})
		app := fiber.New()
		with := func(handle func(c fiber.Ctx, s *fibersession.Session) error) fiber.Handler {
			return func(c fiber.Ctx) error {
				s, err := store.Get(c)
				if err != nil {
					return err
				}
				defer s.Release()
				return handle(c, s)
			}
		}
		app.Get("/login", with(func(c fiber.Ctx, s *fibersession.Session) error {
			if err := s.Regenerate(); err != nil {
				return err
			}
			s.Set("user", "alice")
			return s.Save()
		}))
		app.Get("/slow", with(func(c fiber.Ctx, s *fibersession.Session) error {
			s.Set("seen", "now")
			p.wait()
			return s.Save()
		}))
		app.Get("/logout", with(func(c fiber.Ctx, s *fibersession.Session) error { return s.Destroy() }))
		app.Get("/", with(func(c fiber.Ctx, s *fibersession.Session) error {
			if s.Get("user") != "alice" {
				return fiber.ErrUnauthorized
			}
			return c.SendString("alice")
		}))
		return adaptor.FiberApp(app)
	}
}

func TestFiber(t *testing.T) {
	p := newPause()
	story(t, start(t, fiberApp(p)), p)
}

func TestFiberStorage(t *testing.T) {
	c := start(t, func(*node.Sessions) http.Handler { return http.NotFoundHandler() })
	a, b := holdfastfiber.New(c.nodes["ada"].Sessions()), holdfastfiber.New(c.nodes["bob"].Sessions())

	value, err := a.Get("never")
	require.NoError(t, err)
	require.Nil(t, value)
	require.NoError(t, a.Set("", []byte("x"), 0))
	require.NoError(t, a.Set("empty", nil, 0))
	value, err = b.Get("empty")
	require.NoError(t, err)
	require.Nil(t, value)
	require.NoError(t, a.Delete(""))

	require.NoError(t, a.Set("k", []byte("one"), time.Hour))
	require.NoError(t, b.Set("k", []byte("two"), 0))
	value, err = a.Get("k")
	require.NoError(t, err)
	require.Equal(t, "two", string(value))
	rec, err := c.any().Sessions().Get(t.Context(), "fiber:k")
	require.NoError(t, err)
	require.Zero(t, rec.Expiry().At, "0 is for ever")

	// Fiber's strings lie in buffers that the next request overwrites.
	buffer := []byte("key-of-this-request")
	key := unsafeString(buffer)
	require.NoError(t, a.Set(key, []byte("mine"), time.Hour))
	copy(buffer, "KEY-OF-THE-NEXT-ONE")
	value, err = b.Get("key-of-this-request")
	require.NoError(t, err)
	require.Equal(t, "mine", string(value))

	require.NoError(t, b.Delete("k"))
	require.NoError(t, a.Delete("k"))
	require.ErrorIs(t, a.Set("k", []byte("late"), time.Hour), session.ErrDeleted)
	cache := holdfastfiber.New(c.nodes["cyd"].Sessions(), holdfastfiber.WithRevive())
	require.NoError(t, cache.Set("k", []byte("again"), time.Hour))
	value, err = a.Get("k")
	require.NoError(t, err)
	require.Equal(t, "again", string(value))

	other := holdfastfiber.New(c.any().Sessions(), holdfastfiber.WithPrefix("other:"))
	require.NoError(t, other.Set("k", []byte("other"), 0))
	for i := range 10 {
		require.NoError(t, a.Set(fmt.Sprint("many-", i), []byte("x"), 0))
	}
	require.NoError(t, b.Reset())
	for i := range 10 {
		value, err = a.Get(fmt.Sprint("many-", i))
		require.NoError(t, err)
		require.Nil(t, value)
	}
	value, err = other.Get("k")
	require.NoError(t, err)
	require.Equal(t, "other", string(value), "what another Storage keeps is left alone")
	require.NoError(t, a.Close())
}

func unsafeString(b []byte) string { return unsafe.String(&b[0], len(b)) }
