"""Owns the sandbox's knowledge of a bank's support desk.

Invariant: the topic of a question depends on its words alone; the most specific topic named wins.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """A subject customers ask about: the words that give it away, the answer, and a detail."""

    name: str
    pattern: re.Pattern[str]
    answer: str
    detail: str


def _topic(name: str, pattern: str, answer: str, detail: str) -> Topic:
    return Topic(name, re.compile(pattern, re.IGNORECASE), answer, detail)


# Specific topics come before general ones: the first that matches is taken.
TOPICS = (
    _topic(
        "card stolen or lost",
        r"\b(stole|stolen|lost|missing|compromised|someone (else )?(is|has|may)[\w ]{0,12} us(ed|ing) my "
        r"card|cloned|mugged)\b",
        "Please freeze your card right away in the app under Cards > Freeze card, so that nobody can use it.",
        "Then report it lost or stolen and order a replacement; it arrives within 5 working days and your "
        "balance stays safe. "
        "If a phone was lost, log out of all devices from our website as well.",
    ),
    _topic(
        "card swallowed",
        r"\b(swallow\w*|ate my card|kept my card|card (is )?stuck|machine (took|has|kept))\b",
        "Freeze the card in the app now: cash machines usually destroy cards they keep.",
        "Order a replacement under Cards > Replace card; there is no fee when a machine has kept the old "
        "one.",
    ),
    _topic(
        "PIN",
        r"\b(pin|passcode|pass code|password)\b",
        "You can see and change your PIN in the app under Cards > PIN, or at any cash machine that offers "
        "PIN services.",
        "After three wrong attempts the PIN is blocked for your protection; unblock it in the app with "
        "your passcode. "
        "A forgotten passcode is reset from the login screen with a link sent to your e-mail address.",
    ),
    _topic(
        "exchange rate",
        r"\b(exchange|exchanging|rate|conversion|convert\w*|foreign "
        r"currenc\w+|currency|currencies|abroad|fx)\b",
        "We convert at the interbank rate of the moment the payment is processed, which can differ a "
        "little from the rate you saw.",
        "On working days there is no surcharge up to your monthly allowance; above it and at weekends a "
        "fee of 0.5 % to 1 % applies. "
        "You can exchange between more than 30 currencies in the app under Accounts > Exchange.",
    ),
    _topic(
        "charged twice",
        r"\b(twice|double|duplicate\w*|two times|same (payment|transaction) )\b",
        "One of the two entries is most likely a pre-authorisation, which disappears by itself within 7 "
        "days.",
        "If both are still there after that, open the payment in the app and choose Report a problem; we "
        "refund duplicates in full.",
    ),
    _topic(
        "refund",
        r"\b(refund\w*|money back|reimburse\w*|returned item|revert\w*)\b",
        "A refund reaches your account 3 to 7 working days after the shop has sent it.",
        "If it is late, ask the shop for the reference number and send it to us in the chat; to dispute a "
        "payment, open it and choose Report a problem.",
    ),
    _topic(
        "top-up",
        r"\b(top[- ]?(up|ping|ped)\w*|topup|add(ing)? (money|funds)|cheque|deposit\w*|load)\b",
        "You can top up by card, bank transfer, Apple Pay or Google Pay under Accounts > Add money.",
        "Card top-ups arrive at once, bank transfers within one working day. A top-up that is pending or "
        "was reverted has usually "
        "been stopped by the issuing bank; automatic top-up and its limit are set on the same page.",
    ),
    _topic(
        "fees",
        r"\b(fees?|charged|charges?|cost|extra|commission|price)\b",
        "Payments by card and transfers inside the country are free of charge.",
        "Cash withdrawals are free up to 200 EUR a month, 2 % after that; international transfers show "
        "their fee before you confirm. "
        "A charge of 1 EUR that you do not know is usually a card check and is returned.",
    ),
    _topic(
        "cash withdrawal",
        r"\b(atms?|cash|withdraw\w*)\b",
        "You can withdraw cash at any machine that shows the Visa or Mastercard sign.",
        "A withdrawal that was declined often failed on the daily limit or a wrong PIN. If you received a "
        "wrong amount or do not "
        "recognise a withdrawal, freeze the card and report it in the app: we check it with the machine's "
        "operator.",
    ),
    _topic(
        "virtual card",
        r"\b(virtual|disposable|one[- ]time card)\b",
        "You create a virtual card in the app under Cards > Add card > Virtual; it can be used at once.",
        "A disposable card changes its number after each payment; you can have five of them a day.",
    ),
    _topic(
        "mobile wallet",
        r"\b(apple|google|samsung) ?pay\b|\b(watch|wallet|contactless)\b",
        "Add your card to Apple Pay or Google Pay from Cards > Add to wallet, or switch contactless on in "
        "the card's settings.",
        "The first payment with a new card must be made with chip and PIN; contactless works from then on.",
    ),
    _topic(
        "card activation",
        r"\b(activat\w+|link\w*|expir\w+)\b",
        "Open the app, choose Cards > Activate and enter the last four digits of the card.",
        "Before a card expires we send the new one to your address a month ahead; it has the same PIN.",
    ),
    _topic(
        "card delivery",
        r"\b(arriv\w*|deliver\w*|track\w*|(new|my) card (come|to come|yet)|waiting (on|for) my[\w ]{0,12} "
        r"card|when will (i|my)[\w ]{0,16} card|"
        r"receive my[\w ]{0,10} card|order\w*|get (a|another|my)[\w ]{0,12} card|second card|spare|card "
        r"(in|by) the (mail|post)|ship\w*|post)\b",
        "Your card is sent out within one working day and usually arrives within 5 working days, abroad "
        "within 10.",
        "You see its progress under Cards > Delivery; if it has not come after 10 working days, we send "
        "another one free of charge.",
    ),
    _topic(
        "identity check",
        r"\b(verif\w+|identity|proof|documents?|source of (my )?funds|passport|kyc)\b",
        "The law obliges us to verify who you are; it takes a few minutes with a passport or an identity "
        "card and a selfie.",
        "If it fails, take the pictures in daylight without reflections and check that your name is "
        "written as in the document.",
    ),
    _topic(
        "opening or closing an account",
        r"\b(close|delete|terminat\w+|cancel)\b.{0,20}\baccount\b|\b(age|children|kids?|daughter|son|years? "
        r"old|open an account|countr(y|ies)|europe\w*|live in)\b",
        "You can open an account from the age of 18 in any country of the European Economic Area, and "
        "close it under Profile > Account.",
        "Children from 7 on get a junior account through a parent; a closed account's balance is sent to "
        "the bank account you name.",
    ),
    _topic(
        "transfer",
        r"\b(transfer\w*|transaction|beneficiary|recipient|sent|send(ing)?|receiv\w+|salary|direct "
        r"debit|wire|sepa|payee|iban)\b",
        "Transfers inside Europe arrive within one working day, most of them within seconds; others take 2 "
        "to 5 working days.",
        "You can cancel a transfer as long as it is pending. If it was declined or has not arrived, check "
        "the recipient's name and IBAN "
        "and whether the bank of the beneficiary accepts it.",
    ),
    _topic(
        "declined payment",
        r"\b(declin\w+|reject\w+|refus\w+|not work\w*|doesn'?t work|isn'?t working|fail\w*|won'?t|can'?t "
        r"(pay|use)|denied|broken)\b",
        "Check in the app that the card is active and not frozen and that the amount is within your limits.",
        "If it is, pay once with chip and PIN. Some shops do not accept prepaid cards; the reason for a "
        "refusal stands in the payment's details.",
    ),
    _topic(
        "payment not recognised",
        r"\b(recogni[sz]e\w*|didn'?t make|don'?t know|unknown|strange|unfamiliar|not "
        r"mine|fraud\w*|unauthori[sz]ed|suspicious)\b",
        "Freeze your card and open the payment in the app: many shops book under another name than their "
        "sign.",
        "If it is really not yours, choose Report a problem > I did not make this payment; we refund it "
        "while we look into it.",
    ),
    _topic(
        "pending payment",
        r"\b(pending|still (not|hasn'?t)|processing|not (showing|updated|gone through)|how long|balance)\b",
        "A payment is pending until the shop or the other bank has confirmed it, which can take up to 7 "
        "days.",
        "Your available balance already takes it into account; if it is not confirmed it is given back by "
        "itself.",
    ),
    _topic(
        "personal details",
        r"\b(address|phone number|e-?mail|surname|(change|edit|update)[\w ]{0,12} "
        r"(name|details)|married|moved|marriage)\b",
        "You can change your address, phone number and e-mail in the app under Profile > Personal details.",
        "For a new name we need a picture of a document that shows it.",
    ),
    _topic(
        "cards",
        r"\b(card|visa|mastercard|credit|debit|bank|account|payment)\b",
        "You find everything about your cards and payments in the app under Cards, and our chat is open "
        "day and night.",
        "Both Visa and Mastercard are on offer, accepted wherever you see their sign.",
    ),
)

BANK_WORDS = re.compile(
    r"\b(cards?|accounts?|bank\w*|transfer\w*|top(ping|ped)?[- ]?up\w*|pin|pass ?codes?|atms?|cash|payments?"
    r"|paid|refund\w*|money|funds|currenc\w+|exchange|charged?|charges|fees?|identity|withdraw\w*|beneficiary"
    r"|direct debit|cheque|deposit\w*|apple pay|google pay|visa|mastercard|contactless|statement|the app"
    r"|transactions?|recipient|salary|(my|lost|stolen) phone|(my|your) (address|details|surname))\b",
    re.IGNORECASE,
)


def topic_of(question: str, *, system: str = "") -> Topic | None:
    """The topic of a question a bank's customer might ask; None when it is about something else."""
    if not (BANK_WORDS.search(question) or BANK_WORDS.search(system)):
        return None
    return next((topic for topic in TOPICS if topic.pattern.search(question)), None)
