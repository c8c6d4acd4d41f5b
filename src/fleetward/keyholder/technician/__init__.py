"""The technician's side of a session in a browser, served by the technician's own computer.

No session key ever exists on the server's origin: this program holds it, on loopback alone, and
the page asks this program. Three kinds of hosts live on the one port, and each is an origin of its
own to a browser:

    technician.localhost    our page and its API; the API needs the secret of this start
    terminal-….localhost    the sandboxed frame in which a terminal of the machine is drawn
    page-….localhost        a web page of the machine, as it is, through the session

The names of the last two are made of the secret and the session, so that nobody else knows them.

`switch` hands a connection to its host; `relay` and the files beside it are the machine's page;
`visit` holds the session; `app` and `routes` are our page's API; `main` runs it all.
"""
