'use strict';
// The one login; ZoneMTA has no file of users.
module.exports.title = 'login';
module.exports.init = (app, done) => {
    app.addHook('smtp:auth', (auth, session, next) => {
        if (auth.username === '$username' && auth.password === '$password') {
            return next();
        }
        const refusal = new Error('Authentication failed');
        refusal.responseCode = 535;
        next(refusal);
    });
    done();
};
