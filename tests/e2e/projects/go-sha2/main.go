// SPDX-License-Identifier: Apache-2.0

// A MySQL server of an independent implementation (Vitess's protocol package as dolthub maintains it)
// that knows one user, by caching_sha2_password: what it remembers is proved fast, what it does not in
// full, over TLS or a Unix socket. It answers the few questions of a log-in, a reset and of the test.
//
//	go-sha2 LISTEN-NETWORK ADDRESS USER PASSWORD [CERT KEY]
//
// It prints a line for each log-in ("fast", "full", "refused") and each reset.
package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/dolthub/vitess/go/mysql"
	"github.com/dolthub/vitess/go/sqltypes"
	querypb "github.com/dolthub/vitess/go/vt/proto/query"
	"github.com/dolthub/vitess/go/vt/sqlparser"
)

type user struct{ name string }

func (u user) Get() *querypb.VTGateCallerID { return &querypb.VTGateCallerID{Username: u.name} }

// accounts is the one user, and whether its password is remembered.
type accounts struct {
	name, password string
	lock           sync.Mutex
	known          bool
}

func (a *accounts) HandleUser(string, net.Addr) bool { return true }

func (a *accounts) UserEntryWithCacheHash(_ []*x509.Certificate, salt []byte, name string, proof []byte, _ net.Addr) (mysql.Getter, mysql.CacheState, error) {
	a.lock.Lock()
	defer a.lock.Unlock()
	if name != a.name {
		fmt.Println("refused")
		return nil, mysql.AuthRejected, nil
	}
	if !a.known {
		return nil, mysql.AuthNeedMoreData, nil
	}
	once := sha256.Sum256([]byte(a.password))
	twice := sha256.Sum256(once[:])
	if !mysql.VerifyHashedCachingSha2Password(proof, salt, twice[:]) {
		fmt.Println("refused")
		return nil, mysql.AuthRejected, nil
	}
	fmt.Println("fast")
	return user{name}, mysql.AuthAccepted, nil
}

func (a *accounts) UserEntryWithPassword(_ []*x509.Certificate, name, password string, _ net.Addr) (mysql.Getter, error) {
	a.lock.Lock()
	defer a.lock.Unlock()
	if name != a.name || password != a.password {
		fmt.Println("refused")
		return nil, mysql.NewSQLError(mysql.ERAccessDeniedError, mysql.SSAccessDeniedError, "Access denied for user '%v'", name)
	}
	a.known = true
	fmt.Println("full")
	return user{name}, nil
}

type authServer struct{ method mysql.AuthMethod }

func (s authServer) AuthMethods() []mysql.AuthMethod { return []mysql.AuthMethod{s.method} }
func (s authServer) DefaultAuthMethodDescription() mysql.AuthMethodDescription {
	return mysql.CachingSha2Password
}

// handler answers; a session has a variable and a database.
type handler struct {
	lock      sync.Mutex
	databases map[uint32]string
	variables map[uint32]string
}

func (h *handler) NewConnection(c *mysql.Conn)                 { c.StatusFlags |= mysql.ServerStatusAutocommit }
func (h *handler) ConnectionClosed(*mysql.Conn)                {}
func (h *handler) ConnectionAborted(*mysql.Conn, string) error { return nil }
func (h *handler) WarningCount(*mysql.Conn) uint16             { return 0 }
func (h *handler) ComPrepare(context.Context, *mysql.Conn, string, *mysql.PrepareData) ([]*querypb.Field, error) {
	return nil, nil
}
func (h *handler) ComStmtExecute(_ context.Context, _ *mysql.Conn, _ *mysql.PrepareData, done func(*sqltypes.Result) error) error {
	return done(&sqltypes.Result{})
}
func (h *handler) ParserOptionsForConnection(*mysql.Conn) (sqlparser.ParserOptions, error) {
	return sqlparser.ParserOptions{}, nil
}

func (h *handler) ComInitDB(c *mysql.Conn, name string) error {
	h.lock.Lock()
	defer h.lock.Unlock()
	h.databases[c.ConnectionID] = name
	return nil
}

func (h *handler) ComResetConnection(c *mysql.Conn) error {
	h.lock.Lock()
	defer h.lock.Unlock()
	delete(h.variables, c.ConnectionID)
	fmt.Println("reset")
	return nil
}

func row(cells ...string) *sqltypes.Result {
	r := &sqltypes.Result{RowsAffected: 1, Rows: [][]sqltypes.Value{{}}}
	for _, cell := range cells {
		r.Fields = append(r.Fields, &querypb.Field{Name: "c", Type: querypb.Type_VARCHAR, Charset: 45, ColumnLength: 100})
		r.Rows[0] = append(r.Rows[0], sqltypes.NewVarChar(cell))
	}
	return r
}

func (h *handler) answer(c *mysql.Conn, sql string) *sqltypes.Result {
	h.lock.Lock()
	defer h.lock.Unlock()
	id := c.ConnectionID
	switch {
	case strings.HasPrefix(sql, "SELECT @@character_set_client"):
		return row("utf8mb4", "utf8mb4_general_ci")
	case strings.HasPrefix(sql, "USE "):
		h.databases[id] = strings.TrimPrefix(sql, "USE ")
	case strings.HasPrefix(sql, "SET @a = "):
		h.variables[id] = strings.TrimPrefix(sql, "SET @a = ")
	case sql == "SELECT @a":
		return row("<" + h.variables[id] + ">")
	case sql == "SELECT CONNECTION_ID()":
		return row(fmt.Sprint(id))
	case sql == "SELECT DATABASE()":
		return row(h.databases[id])
	case strings.HasPrefix(sql, "SELECT '"):
		return row(strings.Split(sql, "'")[1], h.databases[id])
	}
	return &sqltypes.Result{}
}

func (h *handler) ComQuery(_ context.Context, c *mysql.Conn, sql string, done mysql.ResultSpoolFn) error {
	return done(h.answer(c, sql), false)
}

func (h *handler) ComMultiQuery(ctx context.Context, c *mysql.Conn, sql string, done mysql.ResultSpoolFn) (string, error) {
	return "", h.ComQuery(ctx, c, sql, done)
}

func main() {
	a := &accounts{name: os.Args[3], password: os.Args[4]}
	h := &handler{databases: map[uint32]string{}, variables: map[uint32]string{}}
	auth := authServer{mysql.NewSha2CachingAuthMethod(a, a, a)}
	listener, err := mysql.NewListener(os.Args[1], os.Args[2], auth, h, 0, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	listener.ServerVersion = "8.0.36-vitess"
	if len(os.Args) > 6 {
		pair, err := tls.LoadX509KeyPair(os.Args[5], os.Args[6])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		listener.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	listener.Accept()
}
