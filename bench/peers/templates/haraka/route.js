'use strict';
// Everything goes to the sink.
exports.hook_get_mx = (next) => next(OK, { priority: 0, exchange: '127.0.0.1', port: $sink });
