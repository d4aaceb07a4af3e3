// Package clients is the proof that software made for Redis works with
// Holdfast: real clients and session libraries, each at three real nodes of
// which one, the owner of what they are about, is killed on the way. It is a
// module of its own, so that those who import Holdfast get none of them.
//
// "make client-tests" runs it and writes what it has shown into docs/REDIS.md.
// A tool that is not on the machine is skipped, and fails if REQUIRE_ALL=1.
package clients
